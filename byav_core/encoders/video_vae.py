"""Video <-> latents: CogVideoX's 3D autoencoder behind `VideoAutoencoder`."""

from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ..config import VideoAutoencoderConfig
from .untrained import seeded_weights


class VideoVae:
    """Pixels 0..1 to latents times the scaling factor, and back. `module` is diffusers' AutoencoderKLCogVideoX."""

    def __init__(self, config: VideoAutoencoderConfig, module: nn.Module):
        self.config, self.module = config, module.eval()

    @torch.no_grad()
    def encode(
        self, video: Float[Tensor, "b f 3 H W"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "b t c H2 W2"]:
        pixels = rearrange(video * 2 - 1, "b f c H W -> b c f H W").to(self.module.device, self.module.dtype)
        posterior = self.module.encode(pixels).latent_dist
        return rearrange(posterior.sample(generator) * self.config.scaling_factor, "b c t H W -> b t c H W")

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "b t c H2 W2"]) -> Float[Tensor, "b f 3 H W"]:
        scaled = rearrange(latents / self.config.scaling_factor, "b t c H W -> b c t H W")
        video = self.module.decode(scaled.to(self.module.device, self.module.dtype)).sample
        return rearrange(video.float() / 2 + 0.5, "b c f H W -> b f c H W").clamp(0, 1)


def small_video_vae(config: VideoAutoencoderConfig, seed: int = 0) -> VideoVae:
    """The real architecture in small: needs no files, weights untrained (decodes to coloured noise)."""
    raise NotImplementedError


def load_video_vae(folder: str | Path, config: VideoAutoencoderConfig, dtype: torch.dtype = torch.float32) -> VideoVae:
    """The autoencoder from a model folder in diffusers' layout: `vae/` inside `folder`."""
    raise NotImplementedError
