"""Motions do what their names say, at a pace that can be followed, in pictures of any size and length."""

import pytest
import torch

from byav_core.synthetic.chance import chance, split_of
from byav_core.synthetic.motion import KINDS, PLACES, SPEED, Stage, draw_motion, kind_of, move, talking

STAGE = Stage(frames=17, height=64, width=96, fps=12.5)
VARIANTS = [f"{number:03}" for number in range(0, 200, 40)]


def tracks(kind, people=2, stage=STAGE):
    return [move(f"{kind}-{variant}", PLACES[people][:people], stage) for variant in VARIANTS]


@pytest.mark.parametrize("people", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_nobody_moves_faster_than_can_be_followed(kind, people):
    for poses in tracks(kind, people):
        for pose in poses:
            assert pose.x.diff().abs().max() < SPEED + 1.5
            assert pose.y.diff().abs().max() < 2.5


@pytest.mark.parametrize("kind", set(KINDS) - {"crossing", "leaning"})
def test_who_does_not_cross_keeps_the_order(kind):
    for left, right in tracks(kind):
        assert (left.x < right.x).all()


def test_who_crosses_changes_places_and_is_apart_before_and_after():
    for left, right in tracks("crossing"):
        gap = right.x - left.x
        assert gap[0] > 1.5 * left.scale[0] and gap[-1] < -1.2 * left.scale[0]


def test_in_a_longer_clip_people_cross_from_where_they_stood():
    long = Stage(frames=33, height=64, width=96, fps=12.5)
    for (left, right), (at_rest, _) in zip(tracks("crossing", stage=long), tracks("still", stage=long), strict=True):
        assert abs(left.x[0] - at_rest.x[0]) < 5 and right.x[0] > left.x[0] and right.x[-1] < left.x[-1]


def test_heads_lean_together():
    for left, right in tracks("leaning"):
        gap = right.x - left.x
        assert gap[-1] < 0.75 * gap[0] and gap.min() > left.scale[0]


def test_who_turns_looks_far_to_the_side_and_stays():
    for poses in tracks("turning"):
        for pose in poses:
            assert pose.yaw.abs().max() > 0.3 and pose.x.max() - pose.x.min() < 4


def test_who_stands_still_hardly_moves_but_lives():
    for poses in tracks("still"):
        for pose in poses:
            assert 0.05 < pose.x.max() - pose.x.min() < 4


def test_faces_stay_in_the_picture():
    for kind in KINDS:
        for people in PLACES:
            for poses in tracks(kind, people):
                for pose in poses:
                    inside = (pose.x > 0) & (pose.x < 96) & (pose.y > 8) & (pose.y < 56)
                    assert inside.float().mean() > 0.7, (kind, people)


def test_a_mouth_is_at_least_eight_pixels_wide():
    from byav_core.synthetic.person import MOUTH_WIDTH

    for people in PLACES:
        for poses in tracks("still", people):
            assert all(2 * MOUTH_WIDTH * pose.scale.min() >= 8 for pose in poses)


def test_sizes_follow_the_picture():
    small, large = (move("swaying-007", PLACES[2], Stage(17, 64 * k, 96 * k, 12.5)) for k in (1, 5))
    assert torch.allclose(large[1].x, 5 * small[1].x, rtol=1e-4)
    assert torch.allclose(large[0].scale, 5 * small[0].scale)


def test_time_is_in_seconds():
    """The same sway, seen twice as often."""
    slow, fast = (
        move("swaying-007", PLACES[2], Stage(frames, 64, 96, fps))[0] for frames, fps in ((9, 12.5), (17, 25.0))
    )
    assert torch.allclose(slow.x, fast.x[::2], atol=1e-3)


def test_a_talking_head_moves_with_its_mouth_and_blinks():
    stage = Stage(200, 64, 96, 12.5)
    pose = move("still-001", PLACES[1][:1], stage)[0]
    mouth = torch.zeros(200)
    mouth[50:80] = 0.8
    spoken = talking(pose, mouth, chance("blinks"), stage)
    assert torch.equal(spoken.mouth, mouth)
    lift = pose.y - spoken.y
    assert lift[60:70].min() > 0.3 and lift[150:].abs().max() == 0
    shut = spoken.blink > 0.9
    assert 4 < shut.sum() < 40 and spoken.blink.max() == 1


def test_a_motion_belongs_to_its_split_and_to_the_kinds_asked_for():
    for split in ("train", "test"):
        drawn = {draw_motion(chance(i), split, ("still", "crossing"), 2) for i in range(80)}
        assert {split_of(key) for key in drawn} == {split} and {kind_of(key) for key in drawn} == {"still", "crossing"}


def test_one_person_alone_does_not_cross():
    assert {kind_of(draw_motion(chance(i), "train", ("still", "crossing"), 1)) for i in range(20)} == {"still"}
    with pytest.raises(ValueError, match="crossing needs two people"):
        draw_motion(chance(0), "train", ("crossing",), 1)
