"""The Audio-Character Matrix A^ac: which speech stream drives which character (§3.3.3)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class AudioCharacterMatrix:
    """Rows are the m speech streams, columns the n characters, values 0..1. A column of zeros is a silent character;
    a row with several entries is one voice for several."""

    values: Float[Tensor, "m n"]
    streams: tuple[str, ...]
    characters: tuple[str, ...]

    def __post_init__(self):
        if tuple(self.values.shape) != (len(self.streams), len(self.characters)):
            raise ValueError(
                f"an Audio-Character Matrix of {self.values.shape[0]} x {self.values.shape[1]} does not fit "
                f"{len(self.streams)} speech streams ({', '.join(self.streams)}) and "
                f"{len(self.characters)} characters ({', '.join(self.characters)})"
            )

    @property
    def tensor(self) -> Float[Tensor, "1 m n"]:
        return self.values[None]

    @property
    def silent(self) -> tuple[str, ...]:
        """Characters that no stream drives."""
        return tuple(c for c, total in zip(self.characters, self.values.sum(dim=0).tolist(), strict=True) if not total)


def one_to_one(streams: tuple[str, ...], characters: tuple[str, ...]) -> AudioCharacterMatrix:
    """The first stream drives the first character and so on; characters left over are silent."""
    if len(streams) > len(characters):
        raise ValueError(
            f"{len(streams)} speech streams ({', '.join(streams)}) for {len(characters)} characters "
            f"({', '.join(characters)}): add characters, remove streams, or say by a table who speaks"
        )
    return AudioCharacterMatrix(torch.eye(len(streams), len(characters)), streams, characters)


def swapped(streams: tuple[str, ...], characters: tuple[str, ...]) -> AudioCharacterMatrix:
    """Everybody speaks with the voice of the one before, the first with the last one's: with two, they swap; with
    more, nobody keeps their own (a mirrored order would leave the middle one alone)."""
    straight = one_to_one(streams, characters)
    return AudioCharacterMatrix(straight.values.roll(1, dims=1), streams, characters)
