"""Chance from words alone: no global state, the same numbers everywhere, and a split that holds by construction."""

from collections.abc import Callable
from hashlib import sha256
from typing import Literal, TypeVar

import numpy as np
from numpy.random import RandomState

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
HELD_OUT = 0.2  # of all identities, voices, backgrounds and motions

Keyed = TypeVar("Keyed")


def chance(*words: object) -> RandomState:
    """A stream of random numbers of its own for every row of words."""
    return RandomState(np.frombuffer(_digest(*words), "<u4"))


def split_of(key: str) -> Split:
    """The only split in which what this key names is ever drawn."""
    return "test" if _digest("split", key)[0] < 256 * HELD_OUT else "train"


def of_split(split: Split, draw: Callable[[], Keyed], key: Callable[[Keyed], str]) -> Keyed:
    """The first thing drawn whose key belongs to the split."""
    while split_of(key(thing := draw())) != split:
        pass
    return thing


def one_of(random: RandomState, choices: tuple) -> object:
    return choices[random.randint(len(choices))]


def _digest(*words: object) -> bytes:
    return sha256("\x1f".join(map(str, words)).encode()).digest()
