"""ComfyUI's own VAE and CLIP objects behind the core's interfaces, for those who have CogVideoX files loaded there.

ComfyUI moves their weights itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from . import convert


@dataclass(frozen=True, eq=False)
class HostVideoAutoencoder:
    """A core VideoAutoencoder around ComfyUI's VAE."""

    vae: Any
    latent_channels: int
    scaling_factor: float
    module: nn.Module = field(default_factory=nn.Module)  # empty: the weights are in ComfyUI's hands

    def encode(
        self, video: Float[Tensor, "b f 3 H W"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "b t c H2 W2"]:
        """ComfyUI's VAE gives the mean of the posterior; the generator is not used."""
        rows = [self.vae.encode(rearrange(frames, "f c H W -> f H W c")) for frames in video]
        samples = torch.cat([row if row.ndim == 5 else rearrange(row, "t c H W -> 1 c t H W") for row in rows])
        return convert.latents({"samples": samples}, self.latent_channels, self.scaling_factor)

    def decode(self, latents: Float[Tensor, "b t c H2 W2"]) -> Float[Tensor, "b f 3 H W"]:
        rows = [self.vae.decode(convert.to_latent(row[None], self.scaling_factor)["samples"]) for row in latents]
        frames = [row[0] if row.ndim == 5 else row for row in rows]
        return rearrange(torch.stack(frames).float().clamp(0, 1), "b f H W c -> b f c H W")


@dataclass(frozen=True, eq=False)
class HostTextEncoder:
    """A core TextEncoder around ComfyUI's CLIP."""

    clip: Any
    length: int
    channels: int

    def __call__(self, prompt: str) -> Float[Tensor, "1 l d"]:
        conditioning = self.clip.encode_from_tokens_scheduled(self.clip.tokenize(prompt))
        return convert.text_tokens(conditioning, self.length, self.channels)
