"""What the prompt says, read back from pixels: the colours of shirts, and the place behind the people."""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..synthetic.background import PLACES, VARIANTS, light_of, paint_background, place_of
from ..synthetic.chance import split_of
from ..synthetic.drawing import rgb
from ..synthetic.identity import SHIRTS

LOWEST = 8  # shirts are looked at in the lowest of so many parts of the picture
CELL = 8  # pixels of a place looked at together
EMPTY = 0.1  # share of a pixel below which nobody stands there


def read_shirts(frames: Float[Tensor, "f 3 H W"], masks: Float[Tensor, "n f H W"], background: str) -> tuple[str, ...]:
    """The colour, of those that shirts have, that is nearest to most of what each mask holds at the lower edge."""
    lowest = frames.shape[2] // LOWEST
    pixels, tint = frames[:, :, -lowest:], rgb(*light_of(background).tint)
    known = torch.stack([rgb(*colour) for colour in SHIRTS.values()]) * tint
    nearest = (pixels[:, None] - known[None, :, :, None, None]).square().sum(dim=2).argmin(dim=1)
    votes = torch.stack([(masks[:, :, -lowest:] * (nearest == i)).sum(dim=(1, 2, 3)) for i in range(len(SHIRTS))])
    return tuple(tuple(SHIRTS)[i] for i in votes.argmax(dim=0).tolist())


def read_place(frames: Float[Tensor, "f 3 H W"], masks: Float[Tensor, "n f H W"]) -> str:
    """The place of which a variant, of those to train with, is most alike where nobody stands."""
    height, width = frames.shape[2:]
    keys, known = _places(height, width)
    empty = (masks.sum(dim=0) < EMPTY)[:, None].to(frames)
    seen = avg_pool2d((frames * empty).sum(dim=0), CELL)
    share = avg_pool2d(empty.sum(dim=0), CELL)
    misfit = (share * (seen / share.clamp(min=1e-3) - known).square()).sum(dim=(1, 2, 3))
    return place_of(keys[int(misfit.argmin())])


@cache
def _places(height: int, width: int) -> tuple[tuple[str, ...], Float[Tensor, "k 3 h w"]]:
    """Every place of the training split, seen coarsely."""
    keys = [f"{place}-{variant:02}" for place in PLACES for variant in range(VARIANTS)]
    keys = tuple(key for key in keys if split_of(key) == "train")
    return keys, torch.stack([avg_pool2d(paint_background(key, height, width), CELL) for key in keys])
