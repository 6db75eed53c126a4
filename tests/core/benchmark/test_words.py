"""The prompt, read back from pixels."""

import torch

from byav_core.benchmark.words import read_place, read_shirts
from byav_core.synthetic.background import PLACES, VARIANTS, paint_background, place_of
from byav_core.synthetic.chance import split_of


def test_places_that_were_never_seen_are_told_apart():
    """The read-out knows the places of the training split only."""
    keys = [f"{place}-{variant:02}" for place in PLACES for variant in range(VARIANTS)]
    unseen = [key for key in keys if split_of(key) == "test"]
    nobody = torch.zeros(1, 1, 64, 96)
    right = [read_place(paint_background(key, 64, 96)[None], nobody) == place_of(key) for key in unseen]
    assert sum(right) >= 0.95 * len(unseen)


def test_shirts_go_by_their_masks(scenes):
    for scene in scenes("everyday", 4):
        sample, worn = scene.sample, tuple(outfit.shirt for outfit in scene.plan.outfits)
        assert read_shirts(sample.frames, sample.masks, scene.plan.background) == worn
        assert read_shirts(sample.frames, sample.masks.flip(0), scene.plan.background) == worn[::-1]
