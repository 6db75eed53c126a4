"""A video autoencoder that a CPU can train in minutes: a linear map per patch, and convolutions that repair its seams.

For the tiny model only. The libraries' autoencoders (CogVideoX's, Cosmos') are convolutions from end to end and had
reached 14 dB on the drawn world when this one, whose linear part is closed form, stood at 28.
"""

from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from ..config import PatchAutoencoderConfig


@dataclass(frozen=True)
class Certain:
    """The distribution of latents that are known: nothing is left to chance."""

    mean: Float[Tensor, "b c t h w"]

    @property
    def std(self) -> Float[Tensor, "b c t h w"]:
        return torch.zeros_like(self.mean)


@dataclass(frozen=True)
class Encoded:
    latent_dist: Certain


@dataclass(frozen=True)
class Decoded:
    sample: Float[Tensor, "b 3 f H W"]


class PatchAutoencoder(nn.Module):
    """-1..1 pixels, b 3 f H W, to latents b c t h w and back; f = 4 (t - 1) + 1 (for 4 frames to a latent).

    The first latent frame stands for one frame of video, repeated. Encoding is linear; what the linear map back gives
    is refined, so that borders of patches disappear.
    """

    def __init__(self, config: PatchAutoencoderConfig):
        super().__init__()
        self.config = config
        values = 3 * config.temporal_compression_ratio * config.patch**2
        self.analysis = nn.Linear(values, config.latent_channels)
        self.synthesis = nn.Linear(config.latent_channels, values)
        self.refinement = Refinement(config)

    @property
    def dtype(self) -> torch.dtype:
        return self.analysis.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.analysis.weight.device

    def encode(self, video: Float[Tensor, "b 3 f H W"]) -> Encoded:
        return Encoded(Certain(rearrange(self.analysis(self.patches(video)), "b t h w c -> b c t h w")))

    def decode(self, latents: Float[Tensor, "b c t h w"]) -> Decoded:
        groups = self.groups(latents)
        return Decoded(self.frames(groups + self.refinement(groups, latents)))

    def patches(self, video: Float[Tensor, "b 3 f H W"]) -> Float[Tensor, "b t h w values"]:
        p, side = self.config.temporal_compression_ratio, self.config.patch
        first = repeat(video[:, :, :1], "b c 1 H W -> b c p H W", p=p)
        whole = torch.cat([first, video[:, :, 1:]], dim=2)
        return rearrange(whole, "b c (t p) (h q) (w r) -> b t h w (p c q r)", p=p, q=side, r=side)

    def groups(self, latents: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b t p 3 H W"]:
        """The linear map back: for each latent frame the frames that it stands for."""
        p, side = self.config.temporal_compression_ratio, self.config.patch
        values = self.synthesis(rearrange(latents, "b c t h w -> b t h w c"))
        return rearrange(values, "b t h w (p c q r) -> b t p c (h q) (w r)", p=p, q=side, r=side)

    @staticmethod
    def frames(groups: Float[Tensor, "b t p 3 H W"]) -> Float[Tensor, "b 3 f H W"]:
        """Of the first latent frame only the last of its equal frames."""
        return rearrange(groups, "b t p c H W -> b c (t p) H W")[:, :, groups.shape[2] - 1 :]


class Refinement(nn.Module):
    """What is added to the linear reconstruction. Convolutions see a square of `fold` pixels, over all the frames of
    a latent one, as one place. Starts as zero."""

    def __init__(self, config: PatchAutoencoderConfig):
        super().__init__()
        self.fold, self.side = config.fold, config.patch // config.fold
        values = 3 * config.temporal_compression_ratio * config.fold**2
        self.inward = nn.Conv3d(values + config.latent_channels, config.width, (1, 3, 3), padding=(0, 1, 1))
        self.blocks = nn.ModuleList(Block(config.width) for _ in range(config.depth))
        self.outward = nn.Conv3d(config.width, values, (1, 3, 3), padding=(0, 1, 1))
        nn.init.zeros_(self.outward.weight)
        nn.init.zeros_(self.outward.bias)

    def forward(
        self, groups: Float[Tensor, "b t p 3 H W"], latents: Float[Tensor, "b c t h w"]
    ) -> Float[Tensor, "b t p 3 H W"]:
        p, fold = groups.shape[2], self.fold
        seen = rearrange(groups, "b t p c (h q) (w r) -> b (p c q r) t h w", q=fold, r=fold)
        beside = repeat(latents, "b c t h w -> b c t (h y) (w x)", y=self.side, x=self.side)
        x = torch.cat([seen, beside], dim=1).contiguous(memory_format=torch.channels_last_3d)
        x = self.inward(x)
        for block in self.blocks:
            x = block(x)
        return rearrange(self.outward(silu(x)), "b (p c q r) t h w -> b t p c (h q) (w r)", p=p, q=fold, r=fold)


class Block(nn.Module):
    """A residual block: over space, then over time."""

    def __init__(self, width: int):
        super().__init__()
        self.space = nn.Conv3d(width, width, (1, 3, 3), padding=(0, 1, 1))
        self.time = nn.Conv3d(width, width, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, x: Float[Tensor, "b d t h w"]) -> Float[Tensor, "b d t h w"]:
        return x + self.time(silu(self.space(silu(x))))
