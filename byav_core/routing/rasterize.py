"""Masks over frames and pixels to masks over tokens. One frame is a picture and is held still.

The first latent frame is the first video frame alone; each later one stands for a group of video frames.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from ..types import Scene, TokenGrid

Rasterizer = Callable[[Tensor, TokenGrid], Tensor]  # masks "n f H W" -> "n t h w"


def soft(masks: Float[Tensor, "n f H W"], grid: TokenGrid) -> Float[Tensor, "n t h w"]:
    """The share of each token that a character covers. Where characters overlap they share the pixel between them."""
    shared = masks / masks.sum(dim=0).clamp(min=1)
    covered = F.adaptive_avg_pool2d(shared, (grid.h, grid.w))
    first, rest = covered[:, :1], covered[:, 1:]
    if rest.shape[1] == 0:
        return repeat(first, "n 1 h w -> n t h w", t=grid.t)
    later = rearrange(rest, "n (t group) h w -> n t group h w", t=grid.t - 1).mean(dim=2)
    return torch.cat([first, later], dim=1)


def released(masks: Float[Tensor, "n f H W"], grid: TokenGrid) -> Float[Tensor, "n t h w"]:
    """What the published weights were trained on: each token that a character ever owns, in every frame."""
    return repeat(one_hot(masks, grid).amax(dim=1), "n h w -> n t h w", t=grid.t)


def one_hot(masks: Float[Tensor, "n f H W"], grid: TokenGrid) -> Float[Tensor, "n t h w"]:
    """The released conversion: sampled trilinearly, more than half or not at all, later characters overwrite."""
    sampled = F.interpolate(masks[:, None], (grid.t, grid.h, grid.w), mode="trilinear")[:, 0] > 0.5
    claims_from_here_on = sampled.flip(0).cumsum(dim=0).flip(0)
    return (sampled & (claims_from_here_on == 1)).to(masks.dtype)


RASTERIZERS: dict[str, Rasterizer] = {"soft": soft, "released": released}


def check_extent(masks: Float[Tensor, "n f H W"], scene: Scene) -> None:
    """Raises ValueError where masks have other proportions or another number of frames than the scene."""
    f, H, W = masks.shape[1:]
    grid = scene.grid
    if 2 * abs(H * grid.w - W * grid.h) >= max(W, H):  # half a row or column of tokens
        raise ValueError(
            f"masks of {W}x{H} pixels (width x height) have other proportions than the {grid.w}x{grid.h} token grid of "
            "the video; crop or pad them as the first frame was, or paint them at the video's size"
        )
    groups = max(1, grid.t - 1)
    fits = (f == scene.frames) if scene.frames else (f > groups and (f - 1) % groups == 0)
    if f != 1 and not fits:
        wanted = f"the video's {scene.frames} frames" if scene.frames else f"a multiple of {groups}, plus one"
        raise ValueError(
            f"masks over {f} frames do not fit {grid.t} latent frames: give one frame, to be held still, or {wanted}"
        )
