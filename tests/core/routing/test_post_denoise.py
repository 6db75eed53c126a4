from dataclasses import replace

import pytest
import torch

from byav_core.routing import PostDenoiseRouter


def follow_the_light(video, cast):
    """A segmenter: the first is where it is bright, the second elsewhere."""
    bright = (video.mean(dim=1) > 0.5).float()
    return torch.stack([bright, 1 - bright])


def test_characters_are_followed_through_the_coarse_video(ask, scene):
    video = torch.zeros(9, 3, 64, 96)
    video[0, ..., :16] = video[1:5, ..., 32:48] = video[5:, ..., 80:] = 1
    source = PostDenoiseRouter(follow_the_light).plan(replace(scene, coarse_video=lambda: video))
    folded = scene.grid.fold(ask(source, scene.grid, n=2).mask)[0]
    assert folded[0].amax(dim=1).tolist() == [[1, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1]]
    assert torch.equal(folded.sum(dim=0), torch.ones(3, 4, 6))


def test_the_coarse_video_is_made_once_and_only_when_planned(scene):
    made = []

    def video():
        made.append(1)
        return torch.linspace(0, 1, 96).expand(9, 3, 64, 96)

    router = PostDenoiseRouter(follow_the_light)
    assert not made
    router.plan(replace(scene, coarse_video=video))
    assert len(made) == 1


def test_without_a_coarse_video_it_says_so(scene):
    with pytest.raises(ValueError, match="brings no way to make one"):
        PostDenoiseRouter(follow_the_light).plan(scene)


def test_somebody_who_was_lost_is_named(scene):
    with pytest.raises(ValueError, match="the mask of Anna is empty"):
        PostDenoiseRouter(follow_the_light).plan(replace(scene, coarse_video=lambda: torch.zeros(9, 3, 64, 96)))
