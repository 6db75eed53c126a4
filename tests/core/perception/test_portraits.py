"""Drawn people are found by their portraits, whom a finder made for photographs does not see."""

import pytest
import torch

from byav_core.config import tiny
from byav_core.encoders.face_insight_clip import load_face_encoder
from byav_core.perception.portraits import PortraitLocator
from byav_core.perception.segmenter import Sam2Segmenter
from byav_core.pipeline import add_character
from byav_core.protocols import CharacterLocator, VideoSegmenter
from byav_core.synthetic import WorldSpec, draw_scene

SPEC = WorldSpec(split="test", people=(2,), frames=3)


@pytest.fixture(scope="module")
def encoder():
    return load_face_encoder("tiny", tiny().face)


@pytest.fixture(scope="module")
def cast_in(encoder):
    def cast(sample):
        people = ()
        for i, picture in enumerate(sample.references):
            people = add_character(people, f"person {i}", picture, encoder)
        return people

    return cast


def overlap(masks: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Share of each mask that lies on each true one."""
    together = torch.einsum("i h w, j h w -> i j", masks, truth)
    return together / masks.sum(dim=(-2, -1))[:, None]


def test_the_tiny_encoder_finds_and_follows_by_portraits(encoder):
    for found in (encoder.locator(), encoder.segmenter()):
        assert isinstance(found, PortraitLocator)
        assert isinstance(found, CharacterLocator) and isinstance(found, VideoSegmenter)


@pytest.mark.parametrize("seed", range(6))
def test_people_who_were_never_trained_on_are_found_in_a_first_frame(seed, encoder, cast_in):
    sample = draw_scene(seed, SPEC)
    masks = encoder.locator()(sample.frames[0], cast_in(sample))
    assert masks.shape == (2, 64, 96) and float(masks.sum(0).max()) <= 1 + 1e-6
    shares = overlap(masks, sample.masks[:, 0])
    assert shares.argmax(dim=1).tolist() == [0, 1]
    assert shares.diagonal().min() > 0.5


def test_masks_follow_people_through_a_video(encoder, cast_in):
    sample = draw_scene(8, WorldSpec(split="test", people=(2,), motions=("walking",), frames=9))
    masks = encoder.segmenter()(sample.frames, cast_in(sample))
    assert masks.shape == (2, 9, 64, 96)
    columns = torch.arange(96) + 0.5
    middles, truth = (((m.sum(-2) * columns).sum(-1) / m.sum(dim=(-2, -1))) for m in (masks, sample.masks))
    assert (middles[:, -1] - middles[:, 0]).sign().tolist() == (truth[:, -1] - truth[:, 0]).sign().tolist()


def test_the_order_of_masks_is_that_of_the_cast(encoder, cast_in):
    sample = draw_scene(2, SPEC)
    anna, ben = cast_in(sample)
    locate = encoder.locator()
    torch.testing.assert_close(locate(sample.frames[0], (ben, anna)), locate(sample.frames[0], (anna, ben)).flip(0))


def test_the_same_scene_drawn_larger_gives_the_same_places(encoder, cast_in):
    small, large = (draw_scene(4, WorldSpec(split="test", people=(2,), frames=1, height=h, width=w)) for h, w in
                    ((64, 96), (128, 192)))  # fmt: skip
    boxes = [PortraitLocator().boxes(sample.frames, cast_in(small))[:, 0] for sample in (small, large)]
    torch.testing.assert_close(boxes[0], boxes[1] / 2, atol=6.0, rtol=0)  # of a head 27 high


def test_more_people_than_have_room_are_refused(cast_in):
    sample = draw_scene(1, SPEC)
    with pytest.raises(ValueError, match="2 heads have no room beside each other in a picture of 8x64"):
        PortraitLocator()(sample.frames[0, :, :, 40:48], cast_in(sample))


def test_sam_2_is_not_led_by_portraits(tmp_path):
    with pytest.raises(ValueError, match="SAM 2 is told whom to follow by faces that are found.*leave SAM 2 out"):
        Sam2Segmenter(tmp_path, PortraitLocator())
