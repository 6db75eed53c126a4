"""Where samples come from, a folder or a rule that draws them, and what the frozen encoders made of each."""

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from safetensors import SafetensorError

from ..checkpoints.tensors import unfinished_name
from ..clip import Entry, Sample, load_sample, read_manifest
from ..synthetic.to_disk import MANIFEST
from .example import Encoders, Example, read_example, seed_of, to_device, write_example

logger = logging.getLogger(__name__)
GB = 1e9


@runtime_checkable
class Source(Protocol):
    """counts: how many samples there are with each number of characters. `sample` gives the one of an index below
    that, the same one every time; `index` says which one is due, each once before any comes again."""

    counts: Mapping[int, int]

    def index(self, characters: int, turn: int) -> int: ...

    def sample(self, characters: int, index: int) -> Sample: ...


@dataclass(frozen=True)
class Folder:
    """The samples of one split of a manifest, in another order each time. Raises ValueError when there are none."""

    path: Path
    split: str = "train"
    _entries: dict[int, list[Entry]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self):
        for entry in read_manifest(self.path / MANIFEST):
            if entry.split == self.split:
                self._entries.setdefault(entry.characters, []).append(entry)
        if not self._entries:
            raise ValueError(f"{self.path / MANIFEST} has no samples of the split {self.split!r}; choose another")

    @property
    def counts(self) -> Mapping[int, int]:
        return {characters: len(entries) for characters, entries in sorted(self._entries.items())}

    def index(self, characters: int, turn: int) -> int:
        count = len(self._entries[characters])
        return _shuffled(count, characters, turn // count)[turn % count]

    def sample(self, characters: int, index: int) -> Sample:
        """Raises FileNotFoundError, and ValueError when the file is not what the manifest says of it."""
        entry = self._entries[characters][index]
        sample = load_sample(self.path / entry.file)
        if sample.characters != characters:
            raise ValueError(
                f"{self.path / entry.file} has {sample.characters} characters, but {entry.name} in "
                f"{self.path / MANIFEST} has {characters}; write the manifest anew"
            )
        return sample


@dataclass(frozen=True)
class Drawn:
    """Samples drawn on the fly: `draw` is given a seed and a number of characters. As many as wanted; the seed begins
    at `first`, so that what is drawn for other purposes is never drawn here."""

    draw: Callable[[int, int], Sample]
    counts: Mapping[int, int]
    first: int = 0

    def index(self, characters: int, turn: int) -> int:
        return turn % self.counts[characters]

    def sample(self, characters: int, index: int) -> Sample:
        return self.draw(self.first + index, characters)


@dataclass(frozen=True)
class Examples:
    """What the encoders made of a source's samples: made once and kept in `folder`, or, without one, made each time.

    A folder belongs to the encoders that filled it: `sign` says which. Raises ValueError when it was others.
    """

    source: Source
    encoders: Encoders
    folder: Path | None = None
    sign: str = ""

    def __post_init__(self):
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        mark = self.folder / "encoders.json"
        if not mark.is_file():
            unfinished = unfinished_name(mark)  # other processes may be about to read it
            unfinished.write_text(self.sign, encoding="utf-8")
            unfinished.replace(mark)
        elif mark.read_text(encoding="utf-8") != self.sign:
            raise ValueError(f"{self.folder} was encoded for another model or from other samples; remove or rename it")

    def example(self, characters: int, index: int) -> Example:
        if self.folder is None:
            return self._made(characters, index)
        path = self._path(characters, index)
        if path.is_file():
            try:
                return read_example(path)
            except (SafetensorError, KeyError, TypeError, ValueError) as error:
                logger.warning("warning: %s is not whole (%s) and is encoded again", path, error)
        write_example(self._made(characters, index), path)
        return read_example(path)

    def missing(self) -> list[tuple[int, int]]:
        """Number of characters and index of what is to be kept and is not there yet."""
        if self.folder is None:
            return []
        every = ((n, index) for n, count in self.source.counts.items() for index in range(count))
        return [one for one in every if not self._path(*one).is_file()]

    def check_room(self) -> None:
        """Whether the disk has room for what is missing, as large as clips that are there already.

        Raises ValueError saying how much is needed and how much is free.
        """
        needed = sum(self._size(characters) for characters, _ in self.missing())
        if not needed:
            return
        free = shutil.disk_usage(self.folder).free
        logger.info("the encoded clips that are kept will take %.1f GB more; %.1f GB are free", needed / GB, free / GB)
        if needed > free:
            raise ValueError(
                f"what the encoders see of {sum(self.source.counts.values())} clips takes {needed / GB:.1f} GB more in "
                f'{self.folder}, but {free / GB:.1f} GB are free; set "keep" of the data to false, or choose another '
                "output folder"
            )

    def _size(self, characters: int) -> int:
        """Of a clip, by one that is there; 0 where there is none."""
        return next((path.stat().st_size for path in self.folder.glob(f"{characters}-*.safetensors")), 0)

    def _made(self, characters: int, index: int) -> Example:
        return to_device(self.encoders.example(self.source.sample(characters, index)), torch.device("cpu"))

    def _path(self, characters: int, index: int) -> Path:
        return self.folder / f"{characters}-{index:06}.safetensors"


@lru_cache(maxsize=16)
def _shuffled(count: int, characters: int, time: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed_of("order", characters, time))
    return tuple(torch.randperm(count, generator=generator).tolist())
