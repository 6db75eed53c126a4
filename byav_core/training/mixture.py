"""Which clips a pass over the network sees, and how they become one batch.

Nothing here has a state: what the k-th pass of a training sees follows from the seed and k alone, so that a training
that was stopped goes on as if it had not been, on any number of processes.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import repeat
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.data import Dataset

from ..encoders.video_vae import Posterior
from .dataset import Examples, Source
from .example import Example, seed_of


@dataclass(frozen=True)
class Pick:
    """One row of a batch. characters: that it shows or stands for. seen: if a single one stands for them, whose mask
    it has. turn: says which clip, counting all rows from the first pass on."""

    characters: int
    turn: int
    seen: int | None = None

    @property
    def clip(self) -> int:
        """Characters in the clip itself."""
        return self.characters if self.seen is None else 1


@dataclass(frozen=True)
class Batch:
    """Clips that show, or stand for, the same number of characters.

    video, first_frame, canvas: posteriors of their latents. masks: the truth, per token. focus: where the dynamic mask
    loss looks. speech: windows of hidden states; rows of zeros and of A^ac fill up clips with fewer streams. no_text:
    the empty prompt. copied: rows whose one character stands for all.
    """

    names: tuple[str, ...]
    video: Posterior
    first_frame: Posterior
    canvas: Posterior
    masks: Float[Tensor, "b n t h w"]
    focus: Float[Tensor, "b t h w"]
    identity: Float[Tensor, "b n d"]
    hidden: tuple[Float[Tensor, "b n p d2"], ...]
    speech: Float[Tensor, "b m f window layers d3"]
    audio_to_character: Float[Tensor, "b m n"]
    text: Float[Tensor, "b l d4"]
    no_text: Float[Tensor, "1 l d4"]
    copied: Bool[Tensor, " b"]


@dataclass(frozen=True)
class Mixture:
    """The two tasks (§3.4): clips with several characters, and with a single one whose conditions are replicated.

    single: share of the latter, where there are both. rows: clips per pass.
    """

    source: Source
    single: float
    rows: int
    seed: int

    def picks(self, number: int) -> tuple[Pick, ...]:
        """The rows of the pass of that number. All have the same number of characters, drawn as often as it is among
        the samples with several."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, "picks", number))
        several = {n: count for n, count in self.source.counts.items() if n > 1} or {copies(self.source)[0]: 0}
        weights = torch.tensor([max(1, count) for count in several.values()], dtype=torch.float64)
        n = list(several)[int(torch.multinomial(weights, 1, generator=generator))]
        return tuple(self._pick(n, number * self.rows + row, several[n] == 0, generator) for row in range(self.rows))

    def _pick(self, n: int, turn: int, only_single: bool, generator: torch.Generator) -> Pick:
        chance, seen = torch.rand((), generator=generator), int(torch.randint(n, (), generator=generator))
        if only_single or (1 in self.source.counts and chance < self.single):
            return Pick(n, turn, seen)
        return Pick(n, turn)


def copies(source: Source) -> tuple[int, ...]:
    """How many characters clips with a single one may stand for: as many as others have, two if there are no others."""
    return tuple(n for n in source.counts if n > 1) or (2,)


@dataclass(frozen=True)
class Passes(Dataset):
    """The batches of a training by number; what the workers of a loader make."""

    examples: Examples
    mixture: Mixture
    no_text: Float[Tensor, "1 l d"]

    def __getitem__(self, number: int) -> Batch:
        picks = self.mixture.picks(number)
        rows = tuple(self._row(pick) for pick in picks)
        return collate(rows, tuple(pick.seen is not None for pick in picks), self.no_text)

    def _row(self, pick: Pick) -> Example:
        example = self.examples.example(pick.clip, self.mixture.source.index(pick.clip, pick.turn))
        return example if pick.seen is None else replicated(example, pick.characters, pick.seen)


def collate(rows: tuple[Example, ...], copied: tuple[bool, ...], no_text: Float[Tensor, "1 l d"]) -> Batch:
    """Raises ValueError when the clips differ in extent or in their number of characters."""
    n, streams = len(rows[0].masks), max(len(row.speech) for row in rows)
    if odd := [row.name for row in rows if row.masks.shape != rows[0].masks.shape]:
        raise ValueError(
            f"{', '.join(odd)} and {rows[0].name} cannot be in one batch: their masks are {tuple(rows[0].masks.shape)} "
            "and others; train on clips of one size and length"
        )
    return Batch(
        names=tuple(row.name for row in rows),
        video=_joined([row.video for row in rows]),
        first_frame=_joined([row.first_frame for row in rows]),
        canvas=_joined([row.canvas[n] for row in rows]),
        masks=torch.stack([row.masks for row in rows]),
        focus=torch.stack([row.focus for row in rows]),
        identity=torch.stack([row.identity for row in rows]),
        hidden=tuple(torch.stack(maps) for maps in zip(*(row.hidden for row in rows), strict=True)),
        speech=torch.stack([_filled(row.speech, streams) for row in rows]),
        audio_to_character=torch.stack([_filled(row.audio_to_character, streams) for row in rows]),
        text=torch.stack([row.text for row in rows]),
        no_text=no_text,
        copied=torch.tensor(copied),
    )


def replicated(example: Example, n: int, seen: int) -> Example:
    """One character as n with the same face and the same voices; `seen` is the one whom the mask belongs to.

    The others are nowhere, so that together they are told what the one was told: nothing in the video can say which
    of them it is, and the same weights look at all.
    """
    masks = torch.zeros(n, *example.masks.shape[1:])
    masks[seen] = example.masks[0]
    m = len(example.speech)
    own_voices = torch.zeros(n, m, n)
    own_voices[torch.arange(n), :, torch.arange(n)] = example.audio_to_character[:, 0]
    return replace(
        example,
        masks=masks,
        identity=repeat(example.identity, "1 d -> n d", n=n),
        hidden=tuple(repeat(features, "1 p d -> n p d", n=n) for features in example.hidden),
        speech=repeat(example.speech, "m f window layers d -> (n m) f window layers d", n=n),
        audio_to_character=own_voices.flatten(0, 1),
    )


def _filled(x: Tensor, length: int) -> Tensor:
    """Zeros after the rows there are."""
    return F.pad(x, (0, 0) * (x.ndim - 1) + (0, length - len(x)))


def _joined(posteriors: list[Posterior]) -> Posterior:
    mean, deviation = (torch.cat([getattr(one, name) for one in posteriors]) for name in ("mean", "deviation"))
    return Posterior(mean, deviation, posteriors[0].scale)
