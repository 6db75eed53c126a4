"""Masks measured, and masks made: overlap with the truth, flicker, order from left to right; boxes, unions, stills."""

from collections.abc import Callable, Mapping

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from ..protocols import MaskSource
from ..types import Routed, TokenGrid

OWNED = 0.5  # share from which a token belongs to a character

Masks = Float[Tensor, "n f H W"]

MADE_BY_HAND: Mapping[str, Callable[[Masks], Masks]] = {
    "fine": lambda masks: masks,
    "boxes": lambda masks: boxes(masks),
    "first frame": lambda masks: masks[:, :1],
    "union": lambda masks: masks.amax(dim=1, keepdim=True),
}


def boxes(masks: Masks) -> Masks:
    """The rectangle around each mask in each frame."""
    owned = masks > OWNED
    rows, columns = owned.any(dim=-1), owned.any(dim=-2)
    return (_span(rows)[..., None] & _span(columns)[..., None, :]).to(masks)


def iou(found: Float[Tensor, "n t h w"], truth: Float[Tensor, "n t h w"]) -> list[float]:
    """Intersection over union of the tokens owned, for each character who truly owns any."""
    found, truth = (found > OWNED).flatten(1), (truth > OWNED).flatten(1)
    shared = (found & truth).sum(dim=1) / (found | truth).sum(dim=1).clamp(min=1)
    return shared[truth.any(dim=1)].tolist()


def flicker(masks: Float[Tensor, "n t h w"]) -> list[float]:
    """For each character who owns any token: those won or lost from one latent frame to the next, as a share."""
    owned = (masks > OWNED).flatten(2).float()
    area = owned.sum(dim=2).mean(dim=1)
    changed = (owned[:, 1:] - owned[:, :-1]).abs().sum(dim=2).mean(dim=1)
    return (changed / area)[area > 0].tolist()


def without_background(mask: Float[Tensor, "b n s"], grid: TokenGrid) -> Float[Tensor, "b n s"]:
    """As a softmax over n classes would have it instead of n + 1: every token is somebody's."""
    return mask / mask.sum(dim=1, keepdim=True).clamp(min=torch.finfo(mask.dtype).tiny)


def from_left(masks: Float[Tensor, "n f H W"]) -> list[int]:
    """The characters in the order of the middles of their masks in the first frame."""
    columns = masks[:, 0].sum(dim=1)
    middle = (columns * torch.arange(columns.shape[1])).sum(dim=1) / columns.sum(dim=1).clamp(min=1e-6)
    return middle.argsort(stable=True).tolist()


class Watched:
    """A mask source that hands everything on unchanged, and remembers the last mask of every layer."""

    def __init__(self, source: MaskSource, grid: TokenGrid):
        self.source, self.grid = source, grid
        self._layers: dict[int, Tensor] = {}

    def __call__(self, layer: int, q: Float[Tensor, "b heads s d"], k: Float[Tensor, "#b n heads k d"]) -> Routed:
        routed = self.source(layer, q, k)
        self._layers[layer] = routed.mask
        return routed

    def take(self) -> Float[Tensor, "layers n t h w"]:
        """The masks of the pass just over, for the first row of the batch, and forgets them."""
        layers = torch.stack([self._layers[layer].float().cpu() for layer in sorted(self._layers)])
        self._layers.clear()
        return self.grid.fold(rearrange(layers, "layers b n s -> (layers b) n s")[:: layers.shape[1]])


def _span(line: Tensor) -> Tensor:
    """True from the first to the last True of each row."""
    after, before = line.cumsum(dim=-1) > 0, line.flip(-1).cumsum(dim=-1).flip(-1) > 0
    return after & before
