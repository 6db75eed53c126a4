"""Video to latents and back, behind `VideoAutoencoder`: CogVideoX's causal 3D autoencoder, or the tiny model's."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from ..config import PatchAutoencoderConfig, VideoAutoencoderConfig
from ..weights_folder import part_of, reading, refuse_gaps
from .patch_autoencoder import PatchAutoencoder
from .untrained import seeded_weights, weights_in_the_box

AutoencoderConfig = VideoAutoencoderConfig | PatchAutoencoderConfig


@dataclass(frozen=True)
class Posterior:
    """What the encoder says of a video: latents are drawn from it, again and again if wanted, times `scale`."""

    mean: Float[Tensor, "b t c H W"]
    deviation: Float[Tensor, "b t c H W"]
    scale: float

    def draw(self, generator: torch.Generator | None = None) -> Float[Tensor, "b t c H W"]:
        """With the same generator state the same latents, in the order of numbers that diffusers draws in."""
        from diffusers.utils.torch_utils import randn_tensor

        b, t, c, height, width = self.mean.shape
        noise = randn_tensor((b, c, t, height, width), generator, self.mean.device, self.mean.dtype)
        return (self.mean + self.deviation * rearrange(noise, "b c t H W -> b t c H W")) * self.scale


class VideoVae:
    """Pixels 0..1 to latents times the scaling factor, and back; `module` is diffusers' AutoencoderKLCogVideoX, or a
    PatchAutoencoder.

    Of the former, rows of a batch go through one at a time, and frames larger than it was trained on in overlapping
    tiles, both by diffusers' own methods; up to that size nothing is cut, so the numbers are those of the release.
    `tile` (height, width) in pixels cuts smaller, for less memory.
    """

    def __init__(self, config: AutoencoderConfig, module: nn.Module, tile: tuple[int, int] | None = None):
        if module.config.latent_channels != config.latent_channels:
            raise ValueError(
                f"the video autoencoder has {module.config.latent_channels} latent channels but the model expects "
                f"{config.latent_channels}; use the one that belongs to the model"
            )
        self.config, self.module = config, module.eval().requires_grad_(False)
        if not isinstance(config, PatchAutoencoderConfig):  # which needs little memory at any size
            module.enable_slicing()
            self._tile(*(tile or (config.sample_height, config.sample_width)))

    def _tile(self, height: int, width: int) -> None:
        """Tiles of at least this extent, a quarter of each shared with the next.

        The extent is rounded up to four latents, since diffusers puts tiles together at wrong places where the share
        is not a whole number of latents.
        """
        four = 4 * self.config.spatial_compression_ratio
        self.module.enable_tiling(
            tile_sample_min_height=math.ceil(height / four) * four,
            tile_sample_min_width=math.ceil(width / four) * four,
            tile_overlap_factor_height=0.25,
            tile_overlap_factor_width=0.25,
        )

    @torch.no_grad()
    def encode(
        self, video: Float[Tensor, "b f 3 H W"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "b t c H2 W2"]:
        """Draws from the posterior: with the same generator state the same latents."""
        return self.posterior(video).draw(generator)

    @torch.no_grad()
    def posterior(self, video: Float[Tensor, "b f 3 H W"]) -> Posterior:
        pixels = rearrange(video * 2 - 1, "b f c H W -> b c f H W").to(self.module.device, self.module.dtype)
        found = self.module.encode(pixels).latent_dist
        mean, deviation = (rearrange(x, "b c t H W -> b t c H W") for x in (found.mean, found.std))
        return Posterior(mean, deviation, self.config.scaling_factor)

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "b t c H2 W2"]) -> Float[Tensor, "b f 3 H W"]:
        """f = 4 (t - 1) + 1. diffusers tells the first latent frame, which stands for one frame of video, from the
        others by an odd count; an even count is filled up with its last one, and what comes of that is cut off."""
        count = latents.shape[1]
        odd = latents if count % 2 else torch.cat([latents, latents[:, -1:]], dim=1)
        scaled = rearrange(odd / self.config.scaling_factor, "b t c H W -> b c t H W")
        video = self.module.decode(scaled.to(self.module.device, self.module.dtype)).sample
        video = video[:, :, : (count - 1) * self.config.temporal_compression_ratio + 1]
        return rearrange(video.float() / 2 + 0.5, "b c f H W -> b f c H W").clamp(0, 1)


def small_video_vae(config: AutoencoderConfig, seed: int = 0) -> VideoVae:
    """The real architecture at the size of `config`: needs no files, weights untrained (decodes to noise)."""
    with seeded_weights(seed):
        return VideoVae(config, _untrained(config))


def video_in_the_box(config: AutoencoderConfig, box: str | Path | None = None) -> VideoVae:
    """`small_video_vae` with the weights trained in the drawn world, where there are any for this configuration.

    box: another folder of such weights, where they have to be.
    """
    video = small_video_vae(config)
    if found := weights_in_the_box("tiny_video", config, box):
        video.module.load_state_dict(found[0])
    return video


def load_video_vae(folder: str | Path, config: AutoencoderConfig, dtype: torch.dtype = torch.float32) -> VideoVae:
    """The autoencoder from `vae/` inside a model folder in diffusers' layout; a PatchAutoencoder from
    `tiny_video.safetensors`.

    Raises FileNotFoundError naming what is missing, ValueError when the weights are damaged or of another model.
    """
    if isinstance(config, PatchAutoencoderConfig):
        video = video_in_the_box(config, folder)
        video.module.to(dtype)
        return video
    from diffusers import AutoencoderKLCogVideoX

    path = part_of(folder, "vae", "the CogVideoX model")
    with reading(path):
        module, report = AutoencoderKLCogVideoX.from_pretrained(
            path, torch_dtype=dtype, local_files_only=True, output_loading_info=True
        )
    refuse_gaps(path, report)
    return VideoVae(config, module)


def _untrained(config: AutoencoderConfig) -> nn.Module:
    if isinstance(config, PatchAutoencoderConfig):
        return PatchAutoencoder(config)
    from diffusers import AutoencoderKLCogVideoX

    return AutoencoderKLCogVideoX(**_architecture(config))


def _architecture(config: VideoAutoencoderConfig) -> dict[str, Any]:
    levels = len(config.block_out_channels)
    return dict(
        down_block_types=("CogVideoXDownBlock3D",) * levels,
        up_block_types=("CogVideoXUpBlock3D",) * levels,
        block_out_channels=config.block_out_channels,
        latent_channels=config.latent_channels,
        layers_per_block=config.layers_per_block,
        norm_num_groups=config.norm_num_groups,
        temporal_compression_ratio=config.temporal_compression_ratio,
        scaling_factor=config.scaling_factor,
        sample_height=config.sample_height,
        sample_width=config.sample_width,
    )
