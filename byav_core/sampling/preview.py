"""A rough look at latents while sampling, without the autoencoder's decoder: a linear map from latents to colour."""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ..protocols import VideoAutoencoder


@dataclass(frozen=True)
class LatentPreview:
    """One pixel per latent: colour = latent channels and a one, times `weights`."""

    weights: Float[Tensor, "channels_and_one 3"]

    def __call__(self, latents: Float[Tensor, "1 t c H W"]) -> Float[Tensor, "t 3 H W"]:
        channels_last = rearrange(latents[0].float().cpu(), "t c H W -> t H W c")
        return rearrange(pad(channels_last, (0, 1), value=1.0) @ self.weights, "t H W c -> t c H W").clamp(0, 1)


@torch.no_grad()
def fit_preview(autoencoder: VideoAutoencoder, latents_per_side: int = 16, seed: int = 0) -> LatentPreview:
    """Least squares between the latents of one made-up picture of smooth colours and the colours themselves.

    Encodes a single frame, so it costs next to nothing beside a denoising step.
    """
    generator = torch.Generator().manual_seed(seed)
    patches = torch.rand((1, 3, latents_per_side // 2, latents_per_side // 2), generator=generator)
    colours = interpolate(patches, scale_factor=2, mode="bilinear")
    picture = interpolate(colours, scale_factor=8, mode="bilinear")
    latents = autoencoder.encode(rearrange(picture, "1 c H W -> 1 1 c H W"), generator).float().cpu()
    seen = interpolate(picture, latents.shape[-2:], mode="area")
    inputs = pad(rearrange(latents, "1 1 c H W -> (H W) c"), (0, 1), value=1.0)
    solution = torch.linalg.lstsq(inputs, rearrange(seen, "1 c H W -> (H W) c"), driver="gelsd").solution
    return LatentPreview(solution)
