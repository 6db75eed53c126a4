"""Does a file hold what a model needs? Every misfit in one error, names of a kind gathered under one pattern."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from math import prod
from pathlib import Path

from torch import Size


class CheckpointError(ValueError):
    """A weights file or folder that cannot be used; the message names it and says what to do."""


def require_fit(
    expected: Mapping[str, Size], found: Mapping[str, Size], file_of: Callable[[str], Path], model: str
) -> None:
    """Raises one CheckpointError with every missing, unknown and mis-shaped key, counted, under the file it is in.

    file_of: where a key was found or, if it was not, where it should be.
    """
    misfits: dict[str, list[str]] = defaultdict(list)
    for key in sorted(set(expected) | set(found), key=_natural):
        if key not in found:
            misfits[f"{file_of(key)}: missing"].append(key)
        elif key not in expected:
            misfits[f"{file_of(key)}: unknown"].append(key)
        elif found[key] != expected[key]:
            shapes = f"has shape {tuple(found[key])} instead of {tuple(expected[key])}"
            misfits[f"{file_of(key)}: {shapes}"].append(key)
    if misfits:
        lines = [f"  {what} ({len(keys)}): {', '.join(gather(keys))}" for what, keys in misfits.items()]
        raise CheckpointError(
            f"these weights do not fill the model {model!r}:\n"
            + "\n".join(lines)
            + "\nCheck that the file is whole and belongs to this model, and that its configuration says the same."
        )


def gather(keys: Iterable[str]) -> list[str]:
    """Names that differ only in numbers as one pattern: blocks.{0-41}.weight. Together they say exactly the keys."""
    kinds: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    for key in keys:
        pattern = _NUMBER.sub("{}", key)
        kinds[pattern].append(tuple(int(number) for number in _NUMBER.findall(key)))
    return [name for pattern, numbers in kinds.items() for name in _fill(pattern, numbers)]


_NUMBER = re.compile(r"(?:(?<=\.)|^)\d+(?=\.|$)")


def _fill(pattern: str, numbers: list[tuple[int, ...]]) -> list[str]:
    columns = [sorted(set(column)) for column in zip(*numbers, strict=True)]
    if prod(len(column) for column in columns) != len(numbers):
        return [pattern.format(*row) for row in numbers]
    return [pattern.format(*(_ranges(column) for column in columns))]


def _ranges(numbers: list[int]) -> str:
    """[0, 1, 2, 5] -> {0-2,5}; a single number stays itself."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    text = ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return text if len(numbers) == 1 else "{" + text + "}"


def _natural(key: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in key.split(".")]
