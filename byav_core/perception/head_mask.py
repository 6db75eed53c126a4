"""Soft masks in the shape of head and shoulders, from face boxes."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class HeadShape:
    """How a face box grows to head and shoulders, in widths and heights of the face.

    width: the whole width. above, below: what is added over the forehead and under the chin. softness: share of the
    radius over which the edge fades.
    """

    width: float = 2.0
    above: float = 0.5
    below: float = 0.8
    softness: float = 0.3

    def grow(self, boxes: Float[Tensor, "... 4"]) -> Float[Tensor, "... 4"]:
        """Boxes of head and shoulders, left, top, right, bottom; they may reach beyond the picture."""
        left, top, right, bottom = boxes.unbind(-1)
        middle, half, height = (left + right) / 2, (right - left) * self.width / 2, bottom - top
        return torch.stack(
            [middle - half, top - height * self.above, middle + half, bottom + height * self.below], dim=-1
        )


def head_masks(
    boxes: Float[Tensor, "n 4"], height: int, width: int, shape: HeadShape
) -> Float[Tensor, "n height width"]:
    """One mask per face box, 1 inside, fading at the edge; where people overlap they share, the sum is at most 1."""
    left, top, right, bottom = (side[:, None, None] for side in shape.grow(boxes).unbind(-1))
    x, y = torch.arange(width)[None, None] + 0.5, torch.arange(height)[None, :, None] + 0.5
    across = (2 * x - left - right).abs() / (right - left).clamp(min=1)
    along = (2 * y - top - bottom).abs() / (bottom - top).clamp(min=1)
    radius = (across**3 + along**3) ** (1 / 3)  # between an ellipse and a box
    return share(((1 - radius) / shape.softness + 0.5).clamp(0, 1))


def share(masks: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
    """Masks scaled down where together they exceed 1."""
    return masks / masks.sum(0, keepdim=True).clamp(min=1)
