"""Chance from words: the same everywhere, and every key in one split only."""

import numpy as np

from byav_core.synthetic.chance import HELD_OUT, chance, of_split, split_of


def test_the_same_words_give_the_same_numbers():
    assert np.array_equal(chance("scene", 3).uniform(size=5), chance("scene", 3).uniform(size=5))


def test_other_words_give_other_numbers():
    rows = [("scene", 3), ("scene", 4), ("scen", "e3"), ("scene3",)]
    assert len({chance(*words).uniform() for words in rows}) == len(rows)


def test_global_chance_is_neither_read_nor_moved():
    np.random.seed(1)
    state = np.random.get_state()[1].copy()
    chance("scene", 3).uniform()
    assert np.array_equal(np.random.get_state()[1], state)


def test_about_as_many_keys_are_held_out_as_said():
    held_out = np.mean([split_of(f"key {i}") == "test" for i in range(2000)])
    assert abs(held_out - HELD_OUT) < 0.04


def test_what_is_drawn_for_a_split_belongs_to_it():
    random = chance("a")
    for split in ("train", "test"):
        drawn = {of_split(split, lambda: str(random.randint(1000)), str) for _ in range(100)}
        assert {split_of(key) for key in drawn} == {split}
