"""Places behind the people, soft and still; each variant of a place has its own layout and colours."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from numpy.random import RandomState
from torch import Tensor

from .chance import Split, chance, of_split, one_of
from .drawing import Layer, Local, Plane, Window, box, ellipse, rgb
from .person import Light

VARIANTS = 60
DAY, LAMP, NIGHT = (1.0, 1.0, 1.0), (1.02, 0.99, 0.95), (0.88, 0.90, 1.0)


@dataclass
class Canvas:
    """A picture under the brush, 64 units high whatever its size; `wide` units wide."""

    layer: Layer
    p: Local
    wide: float
    random: RandomState

    def put(self, colour: Tensor, distance: Plane) -> None:
        self.layer.paint(colour, self.p.cover(distance))

    def fade(self, above: Tensor, below: Tensor) -> None:
        """The whole picture, from one colour at the top to another at the bottom."""
        down = (self.p.y / 64).clamp(0, 1)[:, None]
        self.layer.paint(torch.lerp(above[:, None, None], below[:, None, None], down), torch.ones(1, 1, 1))

    def hue(self, *colour: float) -> Float[Tensor, "3"]:
        """A colour, a little different in every variant."""
        return (rgb(*colour) + torch.from_numpy(self.random.uniform(-0.03, 0.03, 3)).float()).clamp(0, 1)

    def somewhere(self) -> float:
        return self.random.uniform(0.08, 0.92) * self.wide


def draw_background(random: RandomState, split: Split, places: tuple[str, ...]) -> str:
    """The key of a place in one of its variants."""
    return of_split(split, lambda: f"{one_of(random, places)}-{random.randint(VARIANTS):02}", str)


def place_of(key: str) -> str:
    return key.split("-")[0]


def paint_background(key: str, height: int, width: int) -> Float[Tensor, "3 H W"]:
    unit = height / 64
    window = Window(0, 0, width, height)
    x, y = window.pixels
    canvas = Canvas(
        Layer(1, window), Local(x / unit, y / unit, torch.tensor([[[unit]]])), width / unit, chance("place", key)
    )
    PLACES[place_of(key)](canvas)
    return canvas.layer.colour[0]


def light_of(key: str) -> Light:
    """Every place has its light."""
    random = chance("light", key)
    tint = {"night": NIGHT, "room": LAMP, "kitchen": LAMP}.get(place_of(key), DAY)
    return Light(random.choice([-0.7, 0.7]), -0.6, random.uniform(0.10, 0.16), tint)


def _park(c: Canvas) -> None:
    c.fade(c.hue(0.62, 0.84, 0.97), c.hue(0.88, 0.95, 0.99))
    ridge = 40 + c.random.uniform(-3, 3) + 2.5 * torch.sin(c.p.x / 13 + c.random.uniform(0, 6))
    for _ in range(c.random.randint(1, 4)):
        x, size = c.somewhere(), c.random.uniform(8, 12)
        c.put(c.hue(0.55, 0.42, 0.31), box(c.p, x, 36.0, 1.6, 12.0, 0.8))
        c.put(c.hue(0.38, 0.64, 0.38), ellipse(c.p, x, 19.0, size, size * 1.1))
    c.put(c.hue(0.56, 0.76, 0.43), ridge - c.p.y)


def _beach(c: Canvas) -> None:
    c.fade(c.hue(0.58, 0.84, 0.98), c.hue(0.90, 0.96, 0.99))
    c.put(rgb(1.0, 0.94, 0.70), ellipse(c.p, c.somewhere(), c.random.uniform(8, 14), 5.0, 5.0))
    c.put(c.hue(0.26, 0.62, 0.80), c.random.uniform(25, 31) - c.p.y)
    c.put(c.hue(0.94, 0.87, 0.68), c.random.uniform(42, 46) + 1.5 * torch.sin(c.p.x / 12) - c.p.y)


def _night(c: Canvas) -> None:
    c.fade(c.hue(0.12, 0.15, 0.34), c.hue(0.30, 0.28, 0.52))
    c.put(rgb(0.96, 0.94, 0.82), ellipse(c.p, c.somewhere(), c.random.uniform(8, 13), 5.0, 5.0))
    x = -c.random.uniform(0, 8)
    while x < c.wide:
        wide, high = c.random.uniform(9, 16), c.random.uniform(22, 38)
        c.put(c.hue(0.19, 0.21, 0.40), box(c.p, x + wide / 2, 64.0, wide / 2, 64 - high, 0.1))
        c.put(rgb(0.86, 0.78, 0.50), box(c.p, x + wide * 0.5, high + 6, 1.6, 2.0, 0.1))
        x += wide + c.random.uniform(0, 3)


def _room(c: Canvas) -> None:
    wall = c.hue(*one_of(c.random, ((0.87, 0.78, 0.76), (0.76, 0.82, 0.88), (0.82, 0.86, 0.76), (0.89, 0.83, 0.70))))
    c.fade(wall, wall * 0.94)
    x = c.somewhere()
    c.put(rgb(0.48, 0.36, 0.27), box(c.p, x, 14.0, 10.0, 8.0, 0.8))
    c.put(c.hue(0.92, 0.89, 0.80), box(c.p, x, 14.0, 8.4, 6.4, 0.3))
    c.put(c.hue(0.52, 0.68, 0.66), ellipse(c.p, x, 16.0, 5.0, 3.4))
    c.put(c.hue(0.66, 0.50, 0.38), 56.0 - c.p.y)


def _office(c: Canvas) -> None:
    c.fade(c.hue(0.84, 0.85, 0.85), c.hue(0.76, 0.77, 0.78))
    step = c.random.uniform(26, 36)
    x = c.random.uniform(4, step)
    while x < c.wide + 12:
        c.put(rgb(0.96, 0.97, 0.97), box(c.p, x, 20.0, 11.4, 14.4, 0.8))
        c.put(c.hue(0.66, 0.85, 0.96), box(c.p, x, 20.0, 10.0, 13.0, 0.3))
        x += step
    c.put(c.hue(0.58, 0.52, 0.46), 54.0 - c.p.y)


def _mountains(c: Canvas) -> None:
    c.fade(c.hue(0.98, 0.86, 0.74), c.hue(0.86, 0.90, 0.97))
    for tone, foot in ((0.72, 24), (0.58, 36)):
        peak, steep = c.somewhere(), c.random.uniform(0.35, 0.6)
        for x in (peak, peak + c.wide * 0.5, peak - c.wide * 0.5):
            c.put(rgb(tone * 0.90, tone * 0.98, tone * 1.16), foot - 10 + steep * (c.p.x - x).abs() - c.p.y)
    c.put(c.hue(0.50, 0.66, 0.50), 50 + 1.5 * torch.sin(c.p.x / 17) - c.p.y)


def _kitchen(c: Canvas) -> None:
    wall = c.hue(*one_of(c.random, ((0.80, 0.90, 0.88), (0.94, 0.90, 0.78), (0.84, 0.86, 0.93))))
    c.fade(wall, wall * 0.96)
    shelf = c.random.uniform(14, 20)
    x = c.random.uniform(2, 10)
    while x < c.wide:
        high = c.random.uniform(3, 6)
        tone = one_of(c.random, ((0.36, 0.58, 0.66), (0.90, 0.78, 0.46), (0.54, 0.70, 0.50), (0.93, 0.93, 0.92)))
        c.put(c.hue(*tone), box(c.p, x, shelf - high, 2.6, high, 1.2))
        x += c.random.uniform(9, 16)
    c.put(rgb(0.58, 0.45, 0.34), box(c.p, c.wide / 2, shelf + 1, c.wide, 1.2, 0.1))
    c.put(c.hue(0.90, 0.89, 0.87), 54.0 - c.p.y)


def _studio(c: Canvas) -> None:
    tone = one_of(c.random, ((0.70, 0.80, 0.90), (0.90, 0.80, 0.86), (0.78, 0.88, 0.80), (0.90, 0.87, 0.76)))
    c.fade(c.hue(*tone), rgb(*tone) * 0.80)


PLACES: dict[str, Callable[[Canvas], None]] = {
    "park": _park,
    "beach": _beach,
    "night": _night,
    "room": _room,
    "office": _office,
    "mountains": _mountains,
    "kitchen": _kitchen,
    "studio": _studio,
}
