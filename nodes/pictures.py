"""Pictures for people: the Audio-Character Matrix as a table, a caption on frames, a preview while sampling."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from ..byav_core.overlay import colours, lettering, overlay

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

    from ..byav_core.matrix import AudioCharacterMatrix
    from ..byav_core.sampling.sampler import StepReport
    from ..byav_core.types import Character

CELL, MARGIN, HEADER = 96, 160, 132
INK, FAINT, PAPER = (28, 28, 32), (205, 205, 210), (250, 250, 250)


def matrix_table(matrix: AudioCharacterMatrix, cast: tuple[Character, ...]) -> Float[Tensor, "1 3 H W"]:
    """One row per voice, one column per character with the face above it; filled where the voice speaks for them."""
    from PIL import Image, ImageDraw

    m, n = len(matrix.streams), len(matrix.characters)
    table = Image.new("RGB", (MARGIN + n * CELL, HEADER + m * CELL), PAPER)
    draw = ImageDraw.Draw(table)
    for column, (character, colour) in enumerate(zip(cast, _inks(n), strict=True)):
        _column_head(table, draw, MARGIN + column * CELL, character, colour)
        for row, value in enumerate(matrix.values[:, column].tolist()):
            _cell(draw, MARGIN + column * CELL, HEADER + row * CELL, value, colour)
    for row, name in enumerate(matrix.streams):
        _text(draw, (MARGIN - 12, HEADER + row * CELL + CELL // 2), name, "rm", MARGIN - 20)
    return from_pil(table)[None]


def large_enough(frames: Float[Tensor, "f 3 H W"], side: int = 240) -> Float[Tensor, "f 3 H2 W2"]:
    """Small frames a whole number of times larger, so that what is written on them can be read."""
    factor = math.ceil(side / min(frames.shape[-2:]))
    return frames if factor == 1 else torch.nn.functional.interpolate(frames, scale_factor=factor, mode="nearest")


def captioned(frames: Float[Tensor, "f 3 H W"], names: tuple[str, ...], text: str) -> Float[Tensor, "f 3 H W"]:
    """The frames with each name in its colour at the upper left, and a line of text at the lower left."""
    return torch.stack([from_pil(with_caption(to_pil(frame), names, text)) for frame in frames])


def step_preview(report: StepReport, frames: Float[Tensor, "f 3 H W"], names: tuple[str, ...], size: int = 512):
    """The middle of the rough video at a step, each character's mask over it, as a PIL picture."""
    middle = frames[len(frames) // 2][None]
    scale = max(1, size // max(middle.shape[-2:]))
    extent = [side * scale for side in middle.shape[-2:]]
    large = torch.nn.functional.interpolate(middle, extent, mode="bilinear").clamp(0, 1)
    if report.masks is None:
        return to_pil(large[0])
    mask = report.masks[:, report.masks.shape[1] // 2][:, None]
    fitted = torch.nn.functional.interpolate(mask.float().cpu(), extent, mode="bilinear")
    return with_caption(to_pil(overlay(large, fitted, names)[0]), names, f"step {report.step} of {report.steps}")


def to_pil(picture: Float[Tensor, "3 H W"]) -> Image.Image:
    from PIL import Image

    pixels = rearrange(picture.float().cpu().clamp(0, 1), "c H W -> H W c")
    return Image.fromarray((pixels * 255).round().byte().numpy())


def from_pil(picture: Image.Image) -> Float[Tensor, "3 H W"]:
    import numpy

    return rearrange(torch.from_numpy(numpy.array(picture.convert("RGB"))), "H W c -> c H W").float() / 255


def _inks(n: int) -> list[tuple[int, int, int]]:
    return [tuple(round(v * 255) for v in colour) for colour in colours(n).tolist()]


def _column_head(table: Image.Image, draw: ImageDraw.ImageDraw, left: int, character: Character, colour: tuple) -> None:
    face = to_pil(character.features.crop)
    face.thumbnail((CELL - 16, CELL - 16))
    table.paste(face, (left + (CELL - face.width) // 2, 10))
    draw.rectangle((left + 8, CELL - 4, left + CELL - 8, CELL), fill=colour)
    _text(draw, (left + CELL // 2, CELL + 18), character.name, "mm", CELL - 8)


def _cell(draw: ImageDraw.ImageDraw, left: int, top: int, value: float, colour: tuple) -> None:
    fill = tuple(round(255 + (c - 255) * min(1.0, abs(value))) for c in colour)
    draw.rectangle((left + 2, top + 2, left + CELL - 2, top + CELL - 2), fill=fill, outline=FAINT)
    _text(draw, (left + CELL // 2, top + CELL // 2), f"{value:g}" if value else "", "mm", CELL)


def _text(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, anchor: str, width: int) -> None:
    font = lettering(16)
    while len(text) > 6 and draw.textlength(text, font=font) > width:
        text = text[:-4].rstrip(".") + "..."
    draw.text(at, text, font=font, anchor=anchor, fill=INK)


def with_caption(picture: Image.Image, names: tuple[str, ...], text: str) -> Image.Image:
    """Draws on the picture itself."""
    from PIL import ImageDraw

    draw, longest = ImageDraw.Draw(picture), max((text, *names), key=len)
    font = _font_that_fits(draw, longest, picture.width - 8, largest=max(10, picture.height // 20))
    for row, (name, colour) in enumerate(zip(names, _inks(len(names)), strict=True)):
        at = (4, 3 + row * (font.size + 4))
        draw.text(at, name, font=font, anchor="la", fill=colour, stroke_width=2, stroke_fill="black")
    draw.text((4, picture.height - 3), text, font=font, anchor="ld", fill="white", stroke_width=1, stroke_fill="black")
    return picture


def _font_that_fits(draw: ImageDraw.ImageDraw, text: str, width: int, largest: int) -> ImageFont.FreeTypeFont:
    fonts = (lettering(size) for size in range(largest, 7, -1))
    fitting = (font for font in fonts if draw.textlength(text, font=font) <= width)
    return next(fitting, lettering(8))
