"""Mouths read from pixels: how far each is open, and which voice it follows.

The inside of a mouth is the only red of the drawn world, so an opening is a share of red where somebody is.
"""

import math
from collections.abc import Sequence

from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from ..synthetic.mouth import redness
from ..synthetic.person import MOUTH_OPEN, MOUTH_WIDTH

VARIES = 0.05  # standard deviation of an opening from which a mouth or a voice is said to move
ENOUGH = 6  # frames to correlate over


def read_openings(
    frames: Float[Tensor, "f 3 H W"], masks: Float[Tensor, "n f H W"], heads: Float[Tensor, " n"]
) -> Float[Tensor, "n f"]:
    """The red inside each mask, in areas of a mouth wide open; heads: half their height, in pixels."""
    red = (masks * redness(frames)).sum(dim=(-2, -1))
    return red / rearrange(math.pi * MOUTH_WIDTH * MOUTH_OPEN * heads**2, "n -> n 1")


def correlation(a: Float[Tensor, " f"], b: Float[Tensor, " f"]) -> float:
    """Pearson's; 0 where one of them stands still."""
    a, b = a - a.mean(), b - b.mean()
    scale = float(a.norm() * b.norm())
    return float(a @ b) / scale if scale > 1e-6 else 0.0


def correlations(
    read: Float[Tensor, " f"], own: Float[Tensor, " f"], rivals: Float[Tensor, "m f"], where: Bool[Tensor, " f"]
) -> tuple[float, float] | None:
    """With the own voice, and the largest with another one; over the frames `where`.

    None where that says nothing: too few frames, an own voice that does not vary, or no rival that does.
    """
    rivals = rivals[:, where]
    rivals = rivals[rivals.std(dim=1) > VARIES] if where.sum() >= ENOUGH else rivals[:0]
    if not len(rivals) or own[where].std() <= VARIES:
        return None
    return correlation(read[where], own[where]), max(correlation(read[where], rival) for rival in rivals)


def motion(read: Float[Tensor, " f"], where: Bool[Tensor, " f"]) -> Sequence[float]:
    """How far a mouth goes from frame to frame, where both frames count."""
    return (read[1:] - read[:-1]).abs()[where[1:] & where[:-1]].tolist()
