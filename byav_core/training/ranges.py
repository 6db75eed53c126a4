"""What numbers of a configuration may be, as tables of field and range."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """words: go on from "it should be"."""

    words: str
    holds: Callable[[int | float], bool]


AT_LEAST_0 = Range("0 or more", lambda x: 0 <= x < math.inf)
AT_LEAST_1 = Range("1 or more", lambda x: 1 <= x < math.inf)
ABOVE_0 = Range("more than 0", lambda x: 0 < x < math.inf)
SHARE = Range("from 0 to 1", lambda x: 0 <= x <= 1)
BELOW_1 = Range("from 0 to less than 1", lambda x: 0 <= x < 1)


def check_ranges(values: object, ranges: Mapping[str, Range], where: str) -> None:
    """None is within every range, and of several numbers each is asked. Raises ValueError naming, below `where`, all
    fields that are out of theirs, with what they are and should be."""
    wrong = [
        f"{where} {name} is {given!r}; it should be {wanted.words}"
        for name, wanted in ranges.items()
        if not all(map(wanted.holds, _numbers(given := getattr(values, name))))
    ]
    if wrong:
        raise ValueError(". ".join(wrong))


def _numbers(given: int | float | tuple | None) -> tuple:
    if isinstance(given, tuple):
        return given
    return () if given is None else (given,)
