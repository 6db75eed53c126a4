from dataclasses import replace

import pytest
import torch

from byav_core.routing import LabelSpreading, PreDenoiseRouter


class Halves:
    """A locator that remembers what it was shown."""

    def __init__(self, masks):
        self.masks = masks

    def __call__(self, picture, cast):
        self.picture, self.cast = picture, cast
        return self.masks


@pytest.fixture
def with_frame(scene):
    return replace(scene, inpainting_frame=torch.rand(3, 64, 96))


def test_faces_of_the_first_frame_are_held_still(ask, with_frame, halves):
    locator = Halves(halves[:, 0])
    source = PreDenoiseRouter(locator).plan(with_frame)
    folded = with_frame.grid.fold(ask(source, with_frame.grid, n=2).mask)
    assert (folded == folded[:, :, :1]).all()
    assert (folded[0, 0, ..., :3] == 1).all() and (folded[0, 1, ..., 3:] == 1).all()
    assert locator.picture is with_frame.inpainting_frame and locator.cast is with_frame.cast


def test_without_a_first_frame_it_says_what_to_do(scene, halves):
    with pytest.raises(ValueError, match="reads faces from the inpainting frame; connect one, or use Intra-Denoise"):
        PreDenoiseRouter(Halves(halves[:, 0])).plan(scene)


def test_somebody_who_was_not_found_is_named(with_frame, halves):
    halves[0] = 0
    with pytest.raises(ValueError, match="the mask of Anna is empty"):
        PreDenoiseRouter(Halves(halves[:, 0])).plan(with_frame)


def test_a_refiner_cleans_the_mask_once_before_sampling(ask, with_frame, halves):
    halves[0, 0, 16:32, 16:32] = 0
    halves[1, 0, 16:32, 16:32] = 1  # a token of the second inside the first
    for refiner, owner in ((None, 1), (LabelSpreading(), 0)):
        source = PreDenoiseRouter(Halves(halves[:, 0]), refiner=refiner).plan(with_frame)
        folded = with_frame.grid.fold(ask(source, with_frame.grid, n=2).mask)
        assert folded[0, owner, 0, 1, 1] == 1
