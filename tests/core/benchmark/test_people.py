"""Who is where, found without any learned network."""

import torch

from byav_core.benchmark.people import DrawnPeople, head_templates, recognise, suspects
from byav_core.protocols import CharacterLocator, VideoSegmenter
from byav_core.routing import soft
from byav_core.types import TokenGrid

GRID = TokenGrid(7, 8, 12)


def test_the_people_of_the_scene_are_among_those_it_could_be_and_come_first(scenes):
    for scene in scenes("everyday", 4):
        keys = list(suspects(scene))
        assert keys[:2] == list(scene.sample.truth.identities)
        assert len(keys) >= 8
        assert {key.split("-")[1] for key in keys[2:]} == {who.hair for who in suspects(scene).values()}


def test_who_is_not_among_the_suspects_is_not_recognised(scenes):
    """Every read-out can fail: strangers only."""
    (scene,) = scenes("everyday", 1)
    strangers = {key: who for key, who in suspects(scene).items() if key not in scene.sample.truth.identities}
    templates = head_templates(scene, strangers)
    known = head_templates(scene, suspects(scene))
    sample = scene.sample
    without = recognise(sample.frames, sample.masks, scene.visible, templates)
    best = recognise(sample.frames, sample.masks, scene.visible, known)
    assert (best.amin(dim=1) < 0.8 * without.amin(dim=1)).all()


def test_drawn_people_are_found_in_frames_and_followed_through_videos(scenes):
    overlaps = []
    for scene in scenes("everyday", 6):
        found = DrawnPeople(scene)(scene.sample.frames, ())
        both, either = ((soft(x, GRID) > 0.5) for x in (found, scene.sample.masks))
        overlaps.append(float((both & either).sum() / (both | either).sum()))
        still = DrawnPeople(scene)(scene.sample.frames[0], ())
        assert torch.equal(still, found[:, 0])
    assert sum(overlaps) / len(overlaps) > 0.8


def test_it_is_a_locator_and_a_segmenter(scenes):
    (scene,) = scenes("everyday", 1)
    assert isinstance(DrawnPeople(scene), CharacterLocator | VideoSegmenter)
