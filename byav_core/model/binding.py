"""What ties faces, voices and masks to the visual tokens: prepared once per generation, asked at every layer."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..protocols import MaskSource
from ..types import Routed, TokenGrid
from .cross_attention import KeyValue
from .injection import audio_to_token


@dataclass(frozen=True)
class Binding:
    """What stays the same through all denoising steps: keys and values of faces and voices, and who says what.

    face: one (k, v) per face layer, each b n heads k d. audio: one per audio layer, each b m t heads k d. Any batch of
    one serves every row of the latents. Guidance passes with the same faces share them: `replace(binding, audio=...)`.
    """

    face: tuple[KeyValue, ...]
    audio: tuple[KeyValue, ...]
    audio_to_character: Float[Tensor, "b m n"]

    def check(self, grid: TokenGrid) -> None:
        """Raises ValueError when streams, characters and video do not fit each other."""
        m, n = self.audio_to_character.shape[1:]
        faces, voices = ({layer[0].shape[1] for layer in layers} for layers in (self.face, self.audio))
        if faces - {n} or voices - {m}:
            raise ValueError(
                f"the audio-character matrix is for {m} streams and {n} characters, but there are "
                f"{max(voices, default=m)} streams and {max(faces, default=n)} characters"
            )
        if spoken := {k.shape[2] for k, _ in self.audio} - {grid.t}:
            raise ValueError(f"the speech fills {max(spoken)} latent frames, but the video has {grid.t}")


@dataclass
class Routing:
    """The masks of one forward: asked once per face layer, kept for the layers until the next one.

    Keyed by layer, so that a block run again (gradient checkpointing) changes nothing, and one left out (step caches)
    leaves no hole.
    """

    masks: MaskSource
    routed: dict[int, Routed] = field(default_factory=dict)

    def ask(self, layer: int, q: Tensor, k: Tensor) -> Routed:
        self.routed[layer] = self.masks(layer, q, k.expand(len(q), *k.shape[1:]))
        return self.routed[layer]

    def latest(self, layer: int) -> Routed:
        return self.routed[max(asked for asked in self.routed if asked <= layer)]

    def all(self) -> tuple[Routed, ...]:
        return tuple(self.routed[layer] for layer in sorted(self.routed))


@dataclass(frozen=True)
class Bound:
    """What one block is given beside the tokens.

    Masks may come from anywhere, so they are fetched outside of compiled code; that is also why blocks do not know
    their layer: compiled once, they serve all.
    """

    face: KeyValue | None
    audio: KeyValue | None
    audio_to_character: Float[Tensor, "b m n"]
    inflation: Literal["complement", "none"]
    routing: Routing
    face_layer: int  # of this block, or the last one before it

    @torch.compiler.disable
    def ask(self, q: Float[Tensor, "b heads s d"]) -> Float[Tensor, "#b n s"]:
        """A^cv at this face layer."""
        return self.routing.ask(self.face_layer, q, self.face[0]).mask

    @torch.compiler.disable
    def audio_to_token(self) -> Float[Tensor, "b m s"]:
        """A^av (eq. 6), from the latest A^cv."""
        mask = self.routing.latest(self.face_layer).mask
        return audio_to_token(self.audio_to_character.to(mask.dtype), mask, self.inflation)
