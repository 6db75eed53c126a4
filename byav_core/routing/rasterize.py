"""Masks over frames and pixels to masks over tokens."""

from collections.abc import Callable

import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from ..types import TokenGrid

Rasterizer = Callable[[Tensor, TokenGrid], Tensor]  # "n f H W" -> "n t h w"


def rasterize_soft(masks: Float[Tensor, "n f H W"], grid: TokenGrid) -> Float[Tensor, "n t h w"]:
    """The share of each token that a character covers; where characters overlap they share the pixel."""
    shared = masks / masks.sum(dim=0).clamp(min=1)
    pooled = F.adaptive_avg_pool2d(shared, (grid.h, grid.w))
    first, rest = pooled[:, :1], pooled[:, 1:]
    if rest.shape[1] == 0:
        return repeat(first, "n 1 h w -> n t h w", t=grid.t)
    later = rearrange(rest, "n (t r) h w -> n t r h w", t=grid.t - 1).mean(dim=2)
    return F.pad(later, (0, 0, 0, 0, 1, 0)) + F.pad(first, (0, 0, 0, 0, 0, grid.t - 1))


def rasterize_released(masks: Float[Tensor, "n f H W"], grid: TokenGrid) -> Float[Tensor, "n t h w"]:
    """The released conversion: trilinear sampling, more than half covered or not, later characters win."""
    sampled = F.interpolate(masks[:, None], (grid.t, grid.h, grid.w), mode="trilinear")[:, 0] > 0.5
    overwritten = sampled.flip(0).cumsum(dim=0).flip(0) > 1
    return (sampled & ~overwritten).to(masks.dtype)


RASTERIZERS = {"soft": rasterize_soft, "released": rasterize_released}
