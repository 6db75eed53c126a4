"""Where a token is: rotary positions and the learned position table, on grids of any extent."""

from functools import lru_cache

import torch
from diffusers.models.embeddings import CogVideoXPatchEmbed, get_3d_rotary_pos_embed
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..types import TokenGrid

Crop = tuple[tuple[int, int], tuple[int, int]]


class RotaryPositions(nn.Module):
    """Cosines and sines of the 3D rotary positions, without parameters (CogVideoX 1.0).

    sample: rows and columns of tokens the model was trained on; other grids are laid over it.
    """

    def __init__(self, head_dim: int, sample: tuple[int, int]):
        super().__init__()
        self.head_dim = head_dim
        self.sample = sample

    def forward(self, grid: TokenGrid, device: torch.device) -> tuple[Float[Tensor, "s d"], Float[Tensor, "s d"]]:
        return _rotary(grid, self.head_dim, self.sample, device)


@lru_cache(maxsize=8)
def _rotary(grid: TokenGrid, head_dim: int, sample: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    return get_3d_rotary_pos_embed(
        head_dim, crop_region((grid.h, grid.w), sample), (grid.h, grid.w), grid.t, device=device
    )


def crop_region(grid: tuple[int, int], sample: tuple[int, int]) -> Crop:
    """Top left and bottom right corner, in tokens of `sample`, of the largest centred box with the shape of `grid`."""
    (h, w), (sample_h, sample_w) = grid, sample
    if h / w > sample_h / sample_w:
        inner = (sample_h, round(sample_h / h * w))
    else:
        inner = (round(sample_w / w * h), sample_w)
    top, left = (round((whole - part) / 2) for whole, part in zip(sample, inner, strict=True))
    return (top, left), (top + inner[0], left + inner[1])


class PatchEmbed(CogVideoXPatchEmbed):
    """Latent patches and text to tokens, text first. diffusers' parameters; unlike its own it takes any extent."""

    def forward(
        self, text_embeds: Float[Tensor, "b l d_text"], image_embeds: Float[Tensor, "b t c H W"]
    ) -> Float[Tensor, "b l_and_s d"]:
        b, t, _, height, width = image_embeds.shape
        grid = TokenGrid(t, height // self.patch_size, width // self.patch_size)
        visual = self.proj(image_embeds.flatten(0, 1))
        visual = rearrange(visual, "(b t) d h w -> b (t h w) d", b=b)
        tokens = torch.cat([self.text_proj(text_embeds), visual], dim=1)
        if not self.use_learned_positional_embeddings:
            return tokens
        return tokens + self._positions(grid, text_embeds.shape[1]).to(tokens)

    def _positions(self, grid: TokenGrid, text_length: int) -> Float[Tensor, "1 l_and_s d"]:
        if text_length > self.max_text_seq_length:
            raise ValueError(
                f"{text_length} text tokens were given but the position table holds {self.max_text_seq_length}; "
                "shorten the prompt"
            )
        sample = TokenGrid(
            (self.sample_frames - 1) // self.temporal_compression_ratio + 1,
            self.sample_height // self.patch_size,
            self.sample_width // self.patch_size,
        )
        text, visual = self.pos_embedding.split([self.max_text_seq_length, sample.tokens], dim=1)
        return torch.cat([text[:, :text_length], stretch(visual, sample, grid)], dim=1)


def stretch(table: Float[Tensor, "1 s d"], sample: TokenGrid, grid: TokenGrid) -> Float[Tensor, "1 s2 d"]:
    """A position table at another extent, trilinearly; at its own extent it is returned as it is."""
    if grid == sample:
        return table
    volume = rearrange(table, "1 (t h w) d -> 1 d t h w", t=sample.t, h=sample.h, w=sample.w)
    volume = interpolate(volume, size=(grid.t, grid.h, grid.w), mode="trilinear", align_corners=False)
    return rearrange(volume, "1 d t h w -> 1 (t h w) d")
