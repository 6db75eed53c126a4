"""The mask film: frames with every character's region tinted in a colour of its own, and the name written on it."""

from functools import cache

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

# Okabe and Ito's colours, told apart by every common kind of colour vision; black and yellow-on-white left out.
PALETTE = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167), (213, 94, 0), (0, 114, 178), (240, 228, 66))

# Fonts of the usual systems with the letters of many languages; Pillow's own has plain Latin ones only.
FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "arialuni.ttf", "Arial Unicode.ttf", "arial.ttf", "Arial.ttf")


@cache
def lettering(size: int):
    """Letters of that height in pixels: of the first of FONTS that the system has, else Pillow's own."""
    from PIL import ImageFont

    for name in FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size=size)


def colours(n: int) -> Float[Tensor, "n 3"]:
    """One colour per character by its place in the cast, 0..1. Beyond the palette they repeat, half as bright."""
    turns = [divmod(i, len(PALETTE)) for i in range(n)]
    return torch.tensor([[value / 255 * 0.5**turn for value in PALETTE[place]] for turn, place in turns]).reshape(n, 3)


def overlay(
    frames: Float[Tensor, "f 3 H W"],
    masks: Float[Tensor, "n f2 H2 W2"],
    names: tuple[str, ...],
    opacity: float = 0.55,
) -> Float[Tensor, "f 3 H W"]:
    """The tint follows the mask, 0 to `opacity`; the name stands at the mask's centre of weight in each frame."""
    if masks.shape[0] != len(names):
        raise ValueError(f"{masks.shape[0]} masks but {len(names)} names; give one name for each mask")
    if masks.shape[1:] != (frames.shape[0], *frames.shape[2:]):
        raise ValueError(
            f"masks of {tuple(masks.shape[1:])} frames, rows and columns do not fit a video of "
            f"{(frames.shape[0], *frames.shape[2:])}; take both from the same clip"
        )
    tinted = frames.clone()
    for mask, colour in zip(masks.to(frames), colours(len(names)).to(frames), strict=True):
        tint = rearrange(colour, "c -> c 1 1")
        share = opacity * rearrange(mask.clamp(0, 1), "f h w -> f 1 h w")
        tinted = tinted * (1 - share) + tint * share
    return torch.stack([_with_names(frame, masks[:, i], names) for i, frame in enumerate(tinted)])


def centre(mask: Float[Tensor, "H W"]) -> tuple[float, float] | None:
    """Column and row of the mask's centre of weight, in pixels; None for an empty mask."""
    weight = mask.sum()
    if weight <= 0:
        return None
    rows, columns = torch.arange(mask.shape[0]).to(mask), torch.arange(mask.shape[1]).to(mask)
    return float((mask.sum(0) * columns).sum() / weight), float((mask.sum(1) * rows).sum() / weight)


def _with_names(
    frame: Float[Tensor, "3 H W"], masks: Float[Tensor, "n H W"], names: tuple[str, ...]
) -> Float[Tensor, "3 H W"]:
    import numpy as np
    from PIL import Image, ImageDraw

    picture = Image.fromarray((rearrange(frame, "c h w -> h w c").clamp(0, 1) * 255).round().byte().cpu().numpy())
    draw = ImageDraw.Draw(picture)
    letters = lettering(max(8, frame.shape[1] // 24))
    for mask, name in zip(masks, names, strict=True):
        if at := centre(mask):
            draw.text(at, name, font=letters, anchor="mm", fill="white", stroke_width=1, stroke_fill="black")
    return rearrange(torch.from_numpy(np.array(picture)), "h w c -> c h w").to(frame) / 255
