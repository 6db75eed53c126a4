"""A contact sheet: a row for each scene, with frames, masks, references, and what the mouths do."""

from collections.abc import Iterable

import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn.functional import interpolate

from ..clip import Sample

COLOURS = ((230, 90, 60), (50, 130, 220), (60, 170, 90), (200, 150, 30), (150, 90, 200), (90, 90, 90))
MARGIN, CAPTION = 6, 14
LARGEST = 16384  # pixels, of a side of a picture on the sheet


def contact_sheet(samples: Iterable[Sample], shown: int = 6, zoom: int = 2) -> Image.Image:
    """shown: frames of each clip, evenly spaced. zoom: enlargement, pixels staying square.

    Raises ValueError when there is nothing to show.
    """
    if shown < 1 or zoom < 1:
        raise ValueError(f"a sheet with shown {shown} and zoom {zoom} shows nothing; choose at least 1 for both")
    rows = [_row(sample, shown, zoom) for sample in samples]
    if not rows:
        raise ValueError("there are no scenes to show; choose at least 1")
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def _row(sample: Sample, shown: int, zoom: int) -> Image.Image:
    clip = sample.clip
    times = torch.linspace(0, clip.frames - 1, shown).round().long()
    wide, high = clip.width * zoom, clip.height * zoom
    if max(wide, high) > LARGEST:
        raise ValueError(f"with zoom {zoom} a frame has {wide}x{high} pixels; choose less, {LARGEST} are the most")
    parts = [_picture(frame, (wide, high)) for frame in sample.frames[times]]
    parts.append(_picture(_coloured(sample.masks[:, clip.frames // 2]), (wide, high)))
    parts += [_picture(reference, (high, high)) for reference in sample.references]
    parts.append(_curves(sample, wide, high))
    row = Image.new("RGB", (sum(p.width + MARGIN for p in parts) + MARGIN, high + CAPTION + MARGIN), "white")
    left = MARGIN
    for part in parts:
        row.paste(part, (left, CAPTION))
        left += part.width + MARGIN
    ImageDraw.Draw(row).text((MARGIN, 1), f"{sample.name}: {sample.prompt}", fill="black")
    return row


def _picture(picture: Float[Tensor, "3 H W"], size: tuple[int, int]) -> Image.Image:
    width, height = size
    enlarged = interpolate(picture[None], (height, width), mode="nearest")[0]
    return Image.fromarray((rearrange(enlarged, "c h w -> h w c").clamp(0, 1) * 255).byte().numpy())


def _coloured(masks: Float[Tensor, "n H W"]) -> Float[Tensor, "3 H W"]:
    colours = torch.tensor([COLOURS[i % len(COLOURS)] for i in range(len(masks))]) / 255
    return torch.einsum("n h w, n c -> c h w", masks, colours)


def _curves(sample: Sample, width: int, height: int) -> Image.Image:
    """The opening of each mouth over time, thick while its voice is heard."""
    picture = Image.new("RGB", (width, height), (245, 245, 245))
    if sample.truth is None:
        return picture
    draw, mouths = ImageDraw.Draw(picture), sample.truth.mouths
    lane, step = height / len(mouths), width / mouths.shape[1]
    for i, mouth in enumerate(mouths):
        foot = (i + 1) * lane - 3
        points = [((k + 0.5) * step, foot - float(v) * (lane - 8)) for k, v in enumerate(mouth)]
        for k in range(len(points) - 1):
            draw.line(points[k : k + 2], COLOURS[i % len(COLOURS)], 3 if sample.truth.speaking[i, k] else 1)
    return picture
