"""Shapes as signed distances, and paint laid over paint; all frames of a clip and all pixels at once.

A distance is negative inside. Coordinates are local: a frame of reference has an origin, a turn and a scale (pixels
per local unit) for each video frame, so that one shape follows what it belongs to.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Plane = Float[Tensor, "#f #h #w"]
Colour = Float[Tensor, "3"] | Float[Tensor, "#f 3 #h #w"]  # one, or one for each pixel


@dataclass(frozen=True)
class Window:
    """A rectangle of the picture, in whole pixels; right and bottom are outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def pixels(self) -> tuple[Float[Tensor, "1 1 w"], Float[Tensor, "1 h 1"]]:
        """Where the centres of its pixels are."""
        x, y = torch.arange(self.left, self.right), torch.arange(self.top, self.bottom)
        return x[None, None, :] + 0.5, y[None, :, None] + 0.5

    def of(self, picture: Tensor) -> Tensor:
        return picture[..., self.top : self.bottom, self.left : self.right]


def window_around(
    x: Float[Tensor, " f"], y: Float[Tensor, " f"], reach: tuple[float, float, float, float], height: int, width: int
) -> Window:
    """What lies within the reach (left, up, right, down) of any of the points, inside the picture."""
    left, up, right, down = reach

    def inside(value: Tensor, side: int) -> int:
        return max(0, min(side, int(value)))

    return Window(
        inside((x - left).min().floor(), width),
        inside((y - up).min().floor(), height),
        inside((x + right).max().ceil(), width),
        inside((y + down).max().ceil(), height),
    )


@dataclass(frozen=True)
class Local:
    """The pixels of a window in local coordinates, frame by frame."""

    x: Plane
    y: Plane
    scale: Plane

    def cover(self, distance: Plane) -> Plane:
        """How much of each pixel is inside, 0..1: smooth edges one pixel wide."""
        return (0.5 - distance * self.scale).clamp(0, 1)


def local(
    window: Window,
    x: Float[Tensor, " f"],
    y: Float[Tensor, " f"],
    scale: Float[Tensor, " f"],
    turn: Float[Tensor, " f"],
) -> Local:
    """turn: in radians, clockwise as seen."""
    x, y, scale, turn = (value[:, None, None] for value in (x, y, scale, turn))
    across, down = window.pixels
    across, down = (across - x) / scale, (down - y) / scale
    return Local(across * turn.cos() + down * turn.sin(), down * turn.cos() - across * turn.sin(), scale)


class Layer:
    """A pane over a window of the picture: premultiplied colour, and how much of each pixel is covered."""

    def __init__(self, frames: int, window: Window):
        self.window = window
        self.cover = torch.zeros(frames, window.bottom - window.top, window.right - window.left)
        self.colour = torch.zeros(frames, 3, *self.cover.shape[1:])

    def paint(self, colour: Colour, cover: Plane) -> None:
        colour = colour[:, None, None] if colour.ndim == 1 else colour
        cover = cover.expand_as(self.cover)
        self.colour = torch.lerp(self.colour, colour.expand_as(self.colour), cover[:, None])
        self.cover = self.cover + (1 - self.cover) * cover

    def lay_on(self, picture: Float[Tensor, "f 3 H W"]) -> None:
        """Changes the picture."""
        beneath = self.window.of(picture)
        beneath.mul_(1 - self.cover[:, None]).add_(self.colour)


def rgb(*values: float) -> Float[Tensor, "3"]:
    return torch.tensor(values)


def ellipse(p: Local, x: Plane | float, y: Plane | float, rx: Plane | float, ry: Plane | float) -> Plane:
    """Nearly the distance to an ellipse: right on its edge, and close to it."""
    dx, dy = (p.x - x) / rx, (p.y - y) / ry
    norm = torch.hypot(dx, dy)
    return norm * (norm - 1) / (torch.hypot(dx / rx, dy / ry) + 1e-6)


def box(p: Local, x: Plane | float, y: Plane | float, rx: Plane | float, ry: Plane | float, round_: float) -> Plane:
    """A rectangle of half-sides rx and ry with rounded corners."""
    dx, dy = (p.x - x).abs() - rx + round_, (p.y - y).abs() - ry + round_
    return torch.hypot(dx.clamp(min=0), dy.clamp(min=0)) + torch.maximum(dx, dy).clamp(max=0) - round_


def both(*distances: Plane) -> Plane:
    """What is inside all of them."""
    return _fold(torch.maximum, distances)


def either(*distances: Plane) -> Plane:
    return _fold(torch.minimum, distances)


def outline(distance: Plane, thickness: float) -> Plane:
    return distance.abs() - thickness / 2


def lit(colour: Float[Tensor, "3"], light: Plane) -> Colour:
    """The colour made brighter or darker, 1 as it is."""
    return colour[:, None, None] * light[:, None]


def _fold(join, distances: tuple[Plane, ...]) -> Plane:
    first, *others = distances
    for other in others:
        first = join(first, other)
    return first
