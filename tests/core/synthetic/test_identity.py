"""People: told apart within a scene, named by their looks, and none as red as a mouth."""

from itertools import combinations

import pytest

from byav_core.synthetic.chance import chance, split_of
from byav_core.synthetic.identity import (
    HAIRS,
    HAT_COLOURS,
    MOUTH,
    REDDEST,
    SHIRTS,
    SKINS,
    draw_outfits,
    draw_people,
)


def redness(colour):
    red, green, blue = colour
    return red - max(green, blue)


def test_only_the_inside_of_a_mouth_is_red():
    assert redness(MOUTH) > REDDEST + 0.15
    assert max(redness(colour) for table in (SKINS, HAIRS, SHIRTS) for colour in table.values()) < REDDEST


def test_colours_that_tell_people_apart_are_far_apart():
    for table in (HAIRS, SHIRTS):
        for one, other in combinations(table.values(), 2):
            assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5 > 0.2


def test_nobody_in_a_scene_shares_hair_or_shirt():
    for seed in range(50):
        people, outfits = draw_people(chance(seed), "train", 6), draw_outfits(chance(seed), 6)
        assert len({who.hair for who in people}) == 6 and len({outfit.shirt for outfit in outfits}) == 6


def test_hats_have_colours_that_no_hair_has():
    assert not set(HAT_COLOURS) & set(HAIRS)


def test_an_identity_is_its_looks_and_belongs_to_one_split():
    drawn = {s: {who for i in range(300) for who in draw_people(chance(i), s, 2)} for s in ("train", "test")}
    for split, people in drawn.items():
        assert {split_of(who.key) for who in people} == {split}
        assert len({who.key for who in people}) == len(people) > 500
    assert not drawn["train"] & drawn["test"]


def test_more_people_than_can_be_told_apart_are_refused():
    with pytest.raises(ValueError, match="9 people cannot be drawn; choose 1 to 8"):
        draw_people(chance(0), "train", 9)
