"""A person as shapes: shirt, hair, head, face, mouth, glasses and hat, in units of half the height of the head.

What is on the face lies on an ellipsoid and turns with it, so that a face in profile shows more hair and less eye.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from .chance import chance
from .drawing import Colour, Layer, Local, Plane, both, box, either, ellipse, lit, local, outline, rgb, window_around
from .identity import HAIRS, IRISES, MOUTH, SHIRTS, SKINS, Identity, Outfit

HEAD_WIDTH = {"round": 0.94, "oval": 0.82, "square": 0.90}
HEAD_REACH = (1.75, 1.85, 1.75, 2.0)  # of hair, hats and neck around the middle of the face
BODY_REACH = (1.75, 0.0, 1.75, 99.0)
MOUTH_BELOW, MOUTH_WIDTH, MOUTH_OPEN = 0.48, 0.40, 0.28  # half-width and half-height
LIP_WIDTH, LIP_HEIGHT = 0.05, 0.07  # around what is open
JAW = 0.25  # of the height that is open, how far its middle sinks
DARK = (0.12, 0.11, 0.14)
WHITE = (0.98, 0.98, 0.97)


@dataclass(frozen=True)
class Pose:
    """Where a person is in each frame, in pixels, and how. x, y: the middle of the face; body: of the shoulders.

    scale: half the height of the head in pixels. yaw: to the right of the picture, roll: clockwise, both in radians.
    mouth: how far it is open, blink: how far the eyes are shut, both 0..1.
    """

    x: Float[Tensor, " f"]
    y: Float[Tensor, " f"]
    body: Float[Tensor, " f"]
    scale: Float[Tensor, " f"]
    yaw: Float[Tensor, " f"]
    roll: Float[Tensor, " f"]
    mouth: Float[Tensor, " f"]
    blink: Float[Tensor, " f"]


@dataclass(frozen=True)
class Cover:
    """The part of each pixel, 0..1, that is the person, their face, and the place in which their mouth opens."""

    person: Float[Tensor, "f H W"]
    face: Float[Tensor, "f H W"]
    mouth: Float[Tensor, "f H W"]


@dataclass(frozen=True)
class Light:
    """x, y: where it comes from (to the left and up are negative). strength: of the shading. tint: its colour."""

    x: float
    y: float
    strength: float
    tint: tuple[float, float, float]

    def on(self, colour: tuple[float, float, float], dim: float = 1.0) -> Float[Tensor, "3"]:
        return rgb(*colour) * rgb(*self.tint) * dim

    def across(self, x: Plane, y: Plane) -> Plane:
        """Brightness over a rounded surface that reaches from -1 to 1."""
        return 1 + self.strength * (self.x * x + self.y * y).clamp(-1.2, 1.2)


def paint_person(picture: Float[Tensor, "f 3 H W"], pose: Pose, who: Identity, outfit: Outfit, light: Light) -> Cover:
    """Changes the picture; says where."""
    head = Head(picture, pose, who, outfit, light)
    person, face, mouth = (torch.zeros_like(picture[:, 0]) for _ in range(3))
    for layer in (_body(picture, pose, outfit, light), head.layer):
        layer.lay_on(picture)
        seen = layer.window.of(person)
        seen.add_((1 - seen) * layer.cover)
    head.layer.window.of(face).add_(head.p.cover(head.face))
    head.layer.window.of(mouth).add_(head.p.cover(head.around_mouth()))
    return Cover(person, face, mouth)


def _body(picture: Tensor, pose: Pose, outfit: Outfit, light: Light) -> Layer:
    """Shoulders and shirt, upright."""
    layer, p = _pane(picture, replace(pose, x=pose.body, roll=torch.zeros_like(pose.roll)), BODY_REACH)
    shirt = light.on(SHIRTS[outfit.shirt])
    torso = box(p, 0.0, 5.35, 1.38, 4.1, 0.85)
    layer.paint(lit(shirt, light.across(p.x / 1.4, (p.y - 2.2) / 2.5)), p.cover(torso))
    arms = both(torso, outline(p.x.abs() - 1.02 - 0.03 * (p.y - 1.3), 0.07), 2.0 - p.y)
    layer.paint(shirt * 0.80, p.cover(arms))
    return layer


def _pane(picture: Tensor, pose: Pose, reach: tuple[float, ...]) -> tuple[Layer, Local]:
    """A layer large enough, and the person's own coordinates on it."""
    frames, _, height, width = picture.shape
    largest = float(pose.scale.max())
    window = window_around(pose.x, pose.y, tuple(side * largest for side in reach), height, width)
    return Layer(frames, window), local(window, pose.x, pose.y, pose.scale, pose.roll)


class Head:
    """Everything from the neck up, painted on one layer from back to front."""

    def __init__(self, picture: Tensor, pose: Pose, who: Identity, outfit: Outfit, light: Light):
        self.layer, self.p = _pane(picture, pose, HEAD_REACH)
        self.who, self.outfit, self.light = who, outfit, light
        self.yaw, self.mouth, self.blink = (v[:, None, None] for v in (pose.yaw, pose.mouth, pose.blink))
        self.width = HEAD_WIDTH[who.shape]
        self.own = chance("face", who.key).uniform(-1, 1, size=4)  # size of the eyes, brows, nose, ears
        self.skin, self.hair = light.on(SKINS[who.skin]), light.on(HAIRS[who.hair])
        self.face = self._face()
        self._paint()

    def _paint(self) -> None:
        self._back_hair()
        self._neck()
        self._ears()
        self._skin()
        self._beard()
        self._eyes()
        self._nose()
        self._mouth()
        self._front_hair()
        self._brows()
        self._glasses()
        self._hat()

    def put(self, colour: Colour, distance: Plane, strength: Plane | float = 1.0) -> None:
        self.layer.paint(colour, self.p.cover(distance) * strength)

    def at(self, across: float) -> tuple[Plane, Plane]:
        """Where something on the face is seen once the head has turned, and how much narrower."""
        angle = torch.asin(torch.tensor(across / self.width)) + self.yaw
        return self.width * angle.sin(), (angle.cos() / (1 - (across / self.width) ** 2) ** 0.5).clamp(min=0.05)

    def _face(self) -> Plane:
        if self.who.shape == "square":
            return box(self.p, 0.0, 0.0, self.width, 1.0, 0.62)
        return ellipse(self.p, 0.0, 0.0, self.width, 1.0)

    def _shaded(self, colour: Tensor) -> Colour:
        return lit(colour, self.light.across(self.p.x, self.p.y))

    def _skin(self) -> None:
        self.put(self._shaded(self.skin), self.face)
        for side in (-1, 1):
            x, narrow = self.at(side * 0.52)
            blush = ellipse(self.p, x, 0.33, 0.24 * narrow, 0.17)
            self.put(self.skin * rgb(1.0, 0.87, 0.87), both(blush, self.face), 0.55)

    def _neck(self) -> None:
        neck = either(box(self.p, 0.0, 1.05, 0.36, 0.5, 0.1), ellipse(self.p, 0.0, 1.38, 0.5, 0.3))
        self.put(self.skin * 0.84, neck)

    def _ears(self) -> None:
        if self.who.style in ("bob", "long"):
            return
        size = 1 + 0.15 * self.own[3]
        for side in (-1, 1):
            x = side * self.width * self.yaw.cos() - 0.2 * self.yaw
            self.put(self.skin * 0.90, ellipse(self.p, x, 0.08, 0.17 * size, 0.24 * size))

    def _eyes(self) -> None:
        size = 1 + 0.12 * self.own[0]
        open_ = (1 - self.blink).clamp(min=0.0)
        for side in (-1, 1):
            x, narrow = self.at(side * 0.36)
            white = ellipse(self.p, x, -0.08, 0.185 * size * narrow, 0.05 + 0.18 * size * open_)
            seen = (open_ * 4 - 1).clamp(0, 1)
            self.put(rgb(*WHITE) * rgb(*self.light.tint), white, seen)
            look = x + 0.05 * self.yaw
            iris = ellipse(self.p, look, -0.07, 0.115 * size * narrow, 0.14 * size)
            self.put(self.light.on(IRISES[self.who.iris]), both(iris, white), seen)
            glint = ellipse(self.p, look - 0.05, -0.13, 0.05, 0.05)
            self.put(rgb(*WHITE), both(glint, white), 0.9 * seen)
            lid = both(outline(ellipse(self.p, x, -0.16, 0.21 * narrow, 0.14), 0.07), -0.12 - self.p.y)
            self.put(self.skin * 0.45, lid, 1 - seen)

    def _brows(self) -> None:
        tilt = 0.16 * self.own[1]
        for side in (-1, 1):
            x, narrow = self.at(side * 0.38)
            slope = -0.38 + side * tilt * (self.p.x - x) + 0.35 * (self.p.x - x) ** 2
            brow = both(outline(self.p.y - slope, 0.10), (self.p.x - x).abs() - 0.20 * narrow)
            self.put(self.hair * 0.72, brow)

    def _nose(self) -> None:
        x, _ = self.at(0.0)
        size = 1 + 0.2 * self.own[2]
        self.put(self.skin * 0.82, ellipse(self.p, x * 1.12, 0.17, 0.11 * size, 0.10))

    def _mouth(self) -> None:
        """A smile when shut; what it opens is the one red of the world, with teeth above."""
        x, narrow = self.at(0.0)
        bent = Local(self.p.x, self.p.y + 0.45 * (self.p.x - x) ** 2 * (1 - self.mouth), self.p.scale)
        wide, high = MOUTH_WIDTH * narrow, MOUTH_OPEN * self.mouth
        middle = MOUTH_BELOW + JAW * high
        lips = ellipse(bent, x, middle, wide + LIP_WIDTH, high + LIP_HEIGHT)
        self.put(self.skin * rgb(0.66, 0.52, 0.54), lips)
        inside = ellipse(bent, x, middle, wide, (high - 0.01).clamp(min=0.02))
        visible = (high * self.p.scale).clamp(0, 1)
        self.put(self.light.on(MOUTH), inside, visible)
        teeth = both(inside + 0.03, bent.y - middle + 0.45 * high)
        self.put(self.light.on(WHITE, 0.96), teeth, (2.5 * self.mouth - 0.8).clamp(0, 1))

    def around_mouth(self) -> Plane:
        """What it covers when wide open, lips and all, as far as the face reaches."""
        x, narrow = self.at(0.0)
        middle = MOUTH_BELOW + JAW * MOUTH_OPEN
        lips = ellipse(self.p, x, middle, MOUTH_WIDTH * narrow + LIP_WIDTH, MOUTH_OPEN + LIP_HEIGHT)
        return both(lips, self.face)

    def _beard(self) -> None:
        x, narrow = self.at(0.0)
        if self.who.beard == "full":
            cheeks = ellipse(self.p, x * 0.75, 0.02, 0.80 * self.width, 0.72)
            self.put(self._shaded(self.hair * 0.94), both(self.face - 0.03, -self.p.y, -cheeks))
        elif self.who.beard == "moustache":
            hang = 0.29 + 0.5 * (self.p.x - x) ** 2
            self.put(self.hair * 0.94, both(outline(self.p.y - hang, 0.15), (self.p.x - x).abs() - 0.36 * narrow))

    def _outer(self, more: float, above: float = 0.06) -> Plane:
        return ellipse(self.p, -0.08 * self.yaw, -above, self.width * (1 + more), 1.0 + more)

    def _back_hair(self) -> None:
        down = {"bob": 0.78, "long": 1.62}.get(self.who.style)
        if down is not None:
            middle = (down - 0.6) / 2
            back = box(self.p, -0.15 * self.yaw, middle, self.width * 1.2, (down + 0.6) / 2, 0.42)
            self.put(self._shaded(self.hair * 0.84), either(back, self._outer(0.16)))
        if self.who.style == "curly":
            self.put(self._shaded(self.hair * 0.9), self._curls())

    def _curls(self) -> Plane:
        angle = torch.atan2(self.p.y + 0.25, self.p.x)
        return ellipse(self.p, -0.1 * self.yaw, -0.28, self.width * 1.34, 1.12) - 0.06 * (9 * angle).cos()

    def _front_hair(self) -> None:
        """A cap with an opening for the face; the opening turns with the face, the cap does not."""
        x, _ = self.at(0.0)
        style = self.who.style
        part = {"side": 0.30, "long": 0.0}.get(style, 0.0)
        opening = ellipse(self.p, x * 0.62 + part * 0.5, 0.34, self.width * 0.90, 0.80 + 0.06 * (style == "long"))
        low = {"bob": 0.62, "long": 0.9, "curly": 0.22, "bun": -0.02}.get(style, 0.06)
        cap = self._outer(0.10)
        if style == "spiky":
            angle = torch.atan2(self.p.x, -self.p.y - 0.1)
            cap = cap - 0.10 * (8 * angle + 0.5).cos()
        if style == "curly":
            cap = self._curls()
        if style == "side":
            fringe = ellipse(self.p, x * 0.7 - 0.42, -0.50, 0.62, 0.30)
            opening = both(opening, -fringe)
        hair = both(cap, -opening, self.p.y - low)
        if style == "bun":
            hair = either(hair, ellipse(self.p, -0.3 * self.yaw, -1.22, 0.40, 0.34))
        self.put(self._shaded(self.hair), hair)

    def _glasses(self) -> None:
        if self.who.glasses == "none":
            return
        frame = self.light.on(DARK)
        for side in (-1, 1):
            x, narrow = self.at(side * 0.38)
            if self.who.glasses == "round":
                lens = ellipse(self.p, x, -0.06, 0.30 * narrow, 0.29)
            else:
                lens = box(self.p, x, -0.05, 0.31 * narrow, 0.24, 0.06)
            self.put(frame, outline(lens, 0.10))
        x, _ = self.at(0.0)
        self.put(frame, box(self.p, x, -0.10, 0.10, 0.04, 0.02))

    def _hat(self) -> None:
        if self.outfit.hat == "none":
            return
        x, _ = self.at(0.0)
        colour = self.light.on(SHIRTS[self.outfit.hat_colour])
        crown = both(self._outer(0.17, 0.14), self.p.y + 0.44)
        self.put(self._shaded(colour * 0.96), crown)
        band = {
            "cap": box(self.p, 1.25 * x, -0.46, self.width * 0.95, 0.09, 0.08),
            "beanie": box(self.p, 0.0, -0.54, self.width * 1.17, 0.16, 0.12),
            "brim": box(self.p, 0.0, -0.48, self.width * 1.55, 0.09, 0.08),
        }[self.outfit.hat]
        self.put(colour * 0.78, band)
