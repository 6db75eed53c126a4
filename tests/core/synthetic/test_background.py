"""Places: all can be painted at any size, differ from each other, and hold nothing as red as a mouth."""

from itertools import combinations

import pytest
import torch

from byav_core.synthetic.background import PLACES, draw_background, light_of, paint_background, place_of
from byav_core.synthetic.chance import chance, split_of
from byav_core.synthetic.identity import REDDEST


@pytest.mark.parametrize("place", PLACES)
def test_every_place_fills_the_picture_without_a_mouths_red(place):
    for variant in range(0, 60, 9):
        picture = paint_background(f"{place}-{variant:02}", 32, 56)
        assert picture.shape == (3, 32, 56) and picture.min() > 0 and picture.max() <= 1
        assert (picture[0] - torch.maximum(picture[1], picture[2])).max() < REDDEST


def test_places_and_their_variants_differ():
    keys = [f"{place}-{variant:02}" for place in PLACES for variant in (3, 4)]
    pictures = [paint_background(key, 32, 48) for key in keys]
    assert all(not torch.equal(one, other) for one, other in combinations(pictures, 2))


def test_a_place_looks_the_same_at_twice_the_size():
    small, large = (paint_background("room-05", height, height * 3 // 2) for height in (64, 128))
    assert (torch.nn.functional.avg_pool2d(large, 2) - small).abs().mean() < 0.01


def test_a_place_has_one_light():
    assert light_of("night-07") == light_of("night-07") and light_of("night-07").tint != light_of("park-07").tint


def test_what_is_drawn_belongs_to_its_split_and_to_the_places_asked_for():
    for split in ("train", "test"):
        drawn = {draw_background(chance(i), split, ("park", "night")) for i in range(60)}
        assert {split_of(key) for key in drawn} == {split} and {place_of(key) for key in drawn} == {"park", "night"}
