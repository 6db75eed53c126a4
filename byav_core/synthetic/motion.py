"""How people move: where each stands, and what the head does from frame to frame.

A motion is a kind and a variant; the variant decides every amplitude, rhythm and phase. Lengths are in units of a
64th of the height or a 96th of the width of the picture, whichever is smaller. Nobody walks faster than a video
autoencoder can follow: SPEED units in a frame.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.random import RandomState
from torch import Tensor

from .chance import Split, chance, of_split, one_of
from .person import MOUTH_OPEN, Pose

VARIANTS = 200
SPEED = 2.4
TOGETHER = ("leaning", "crossing")  # these need two

Track = Float[Tensor, " f"]


@dataclass(frozen=True)
class Place:
    """Where somebody stands: across and down as parts of the picture, the size of the head, the row (0 is behind)."""

    words: str
    across: float
    down: float
    head: float
    row: int = 0


ROW, BEHIND, BEFORE = 0.42, 0.225, 0.615
PLACES: dict[int, tuple[Place, ...]] = {
    1: (Place("left", 0.30, 0.44, 16.0), Place("middle", 0.50, 0.44, 16.0), Place("right", 0.70, 0.44, 16.0)),
    2: (Place("left", 0.28, ROW, 13.6), Place("right", 0.72, ROW, 13.6)),
    3: (Place("left", 0.17, ROW, 12.2), Place("middle", 0.50, ROW, 12.2), Place("right", 0.83, ROW, 12.2)),
    4: (
        Place("far left", 0.135, 0.38, 10.9),
        Place("left", 0.38, 0.45, 10.9),
        Place("right", 0.62, 0.38, 10.9),
        Place("far right", 0.865, 0.45, 10.9),
    ),
    5: (
        Place("back left", 0.18, BEHIND, 10.4),
        Place("back middle", 0.50, BEHIND, 10.4),
        Place("back right", 0.82, BEHIND, 10.4),
        Place("front left", 0.34, BEFORE, 10.8, 1),
        Place("front right", 0.66, BEFORE, 10.8, 1),
    ),
    6: (
        Place("back left", 0.16, BEHIND, 10.4),
        Place("back middle", 0.47, BEHIND, 10.4),
        Place("back right", 0.78, BEHIND, 10.4),
        Place("front left", 0.22, BEFORE, 10.8, 1),
        Place("front middle", 0.53, BEFORE, 10.8, 1),
        Place("front right", 0.84, BEFORE, 10.8, 1),
    ),
}


@dataclass(frozen=True)
class Stage:
    """Extent of what is drawn."""

    frames: int
    height: int
    width: int
    fps: float

    @property
    def unit(self) -> float:
        return min(self.height / 64, self.width / 96)

    @property
    def seconds(self) -> Track:
        return torch.arange(self.frames) / self.fps


def draw_motion(random: RandomState, split: Split, kinds: tuple[str, ...], people: int) -> str:
    """The key of a motion. Raises ValueError when none of the kinds is for so few."""
    possible = tuple(kind for kind in kinds if people > 1 or kind not in TOGETHER)
    if not possible:
        raise ValueError(f"{', '.join(kinds)} needs two people; add another motion for one")
    return of_split(split, lambda: f"{one_of(random, possible)}-{random.randint(VARIANTS):03}", str)


def kind_of(key: str) -> str:
    return key.split("-")[0]


def move(key: str, places: tuple[Place, ...], stage: Stage) -> tuple[Pose, ...]:
    """What everybody does, in the order of the places; mouths shut. Left neighbours come before right ones."""
    still = [_standing(chance("motion", key, i), place, stage) for i, place in enumerate(places)]
    order = sorted(range(len(places)), key=lambda i: (places[i].row, float(still[i].x[0])))
    moved = KINDS[kind_of(key)](chance("motion", key), [still[i] for i in order], stage)
    found = dict(zip(order, moved, strict=True))
    return tuple(found[i] for i in range(len(places)))


def talking(pose: Pose, mouth: Track, random: RandomState, stage: Stage) -> Pose:
    """The pose with its mouth moving, the head going along a little, and eyes that blink now and then."""
    along = _smooth(mouth, max(1, round(0.2 * stage.fps)))
    nod = along * pose.scale * MOUTH_OPEN * 0.25
    return replace(pose, mouth=mouth, y=pose.y - nod, blink=_blinks(random, stage))


def _standing(random: RandomState, place: Place, stage: Stage) -> Pose:
    """Somebody alive who stays where they are."""
    unit, one = stage.unit, torch.ones(stage.frames)
    x = place.across * stage.width + random.uniform(-1.5, 1.5) * unit
    y = place.down * stage.height + random.uniform(-1.0, 1.0) * unit
    facing = (0.5 - place.across) * 0.5 + random.uniform(-0.15, 0.15)
    return Pose(
        x=x + 0.5 * unit * _drift(random, stage),
        y=y + 0.35 * unit * _drift(random, stage),
        body=x * one,
        scale=place.head * unit * random.uniform(0.97, 1.04) * one,
        yaw=facing + 0.12 * _drift(random, stage),
        roll=0.05 * _drift(random, stage),
        mouth=0 * one,
        blink=0 * one,
    )


def _still(random: RandomState, people: list[Pose], stage: Stage) -> list[Pose]:
    return people


def _swaying(random: RandomState, people: list[Pose], stage: Stage) -> list[Pose]:
    def sway(pose: Pose) -> Pose:
        wave = _wave(random, stage, 0.4, 0.8)
        moved = _shifted(pose, random.uniform(2.0, 3.5) * stage.unit * wave, body=0.6)
        return replace(moved, roll=pose.roll + 0.10 * wave)

    return [sway(pose) for pose in people]


def _nodding(random: RandomState, people: list[Pose], stage: Stage) -> list[Pose]:
    def nod(pose: Pose) -> Pose:
        return replace(pose, y=pose.y + random.uniform(1.2, 2.2) * stage.unit * _wave(random, stage, 0.8, 1.5))

    return [nod(pose) for pose in people]


def _turning(random: RandomState, people: list[Pose], stage: Stage) -> list[Pose]:
    def turn(pose: Pose) -> Pose:
        return replace(pose, yaw=(random.uniform(0.5, 0.7) * _wave(random, stage, 0.3, 0.6)))

    return [turn(pose) for pose in people]


def _walking(random: RandomState, people: list[Pose], stage: Stage) -> list[Pose]:
    """All the same way, at different paces."""
    way = random.choice([-1, 1])
    frames = torch.arange(stage.frames) - stage.frames / 2

    def walk(pose: Pose) -> Pose:
        path = way * random.uniform(0.25, 0.45) * SPEED * stage.unit * frames
        bob = 0.6 * stage.unit * _wave(random, stage, 1.5, 2.0)
        return replace(_shifted(pose, path), y=pose.y + bob, yaw=pose.yaw * 0.5 + way * 0.35)

    return [walk(pose) for pose in people]


def _leaning(random: RandomState, people: list[Pose], stage: Stage) -> list[Pose]:
    """Neighbours put their heads together, one a little before the other."""

    def lean(pose: Pose, way: float, gap: float) -> Pose:
        reach = min(0.5 * gap - 0.62 * float(pose.scale[0]), 0.45 * SPEED * stage.unit * stage.frames)
        ease = _ease(stage)
        moved = _shifted(pose, way * max(reach, 0.0) * ease, body=0.75)
        return replace(moved, roll=pose.roll + way * 0.16 * ease, yaw=pose.yaw + way * 0.15 * ease)

    return _in_pairs(random, people, lean)


def _crossing(random: RandomState, people: list[Pose], stage: Stage) -> list[Pose]:
    """Neighbours change places as far as the time allows; they start closer together when it is short."""
    way_to_go = SPEED * stage.unit * (stage.frames - 1)
    along = torch.linspace(0, 1, stage.frames)

    def cross(pose: Pose, way: float, gap: float) -> Pose:
        start = min(gap, max(way_to_go, 1.9 * float(pose.scale[0])))
        path = (gap - start) / 2 + min(start, way_to_go) * along
        bob = 0.6 * stage.unit * _wave(random, stage, 1.5, 2.0)
        return replace(_shifted(pose, way * path), y=pose.y + bob, yaw=pose.yaw * 0.4 + way * 0.4)

    return _in_pairs(random, people, cross)


KINDS: dict[str, Callable[[RandomState, list[Pose], Stage], list[Pose]]] = {
    "still": _still,
    "swaying": _swaying,
    "nodding": _nodding,
    "turning": _turning,
    "walking": _walking,
    "leaning": _leaning,
    "crossing": _crossing,
}


def _in_pairs(random: RandomState, people: list[Pose], act: Callable[[Pose, float, float], Pose]) -> list[Pose]:
    """act(pose, which way the other is, how far) on neighbours; who finds none stays."""
    first, moved = random.randint(2) if len(people) % 2 else 0, list(people)
    for left in range(first, len(people) - 1, 2):
        pair = people[left], people[left + 1]
        gap = float(pair[1].x[0] - pair[0].x[0])
        way = 1.0 if gap >= 0 else -1.0
        moved[left], moved[left + 1] = act(pair[0], way, abs(gap)), act(pair[1], -way, abs(gap))
    return moved


def _shifted(pose: Pose, by: Track, body: float = 1.0) -> Pose:
    return replace(pose, x=pose.x + by, body=pose.body + body * by)


def _wave(random: RandomState, stage: Stage, slowest: float, fastest: float) -> Track:
    """-1..1 at so many turns a second."""
    return torch.sin(2 * torch.pi * (random.uniform(slowest, fastest) * stage.seconds + random.uniform()))


def _ease(stage: Stage) -> Track:
    """0 to 1, gently at both ends."""
    along = torch.linspace(0, 1, stage.frames)
    return along * along * (3 - 2 * along)


def _drift(random: RandomState, stage: Stage) -> Track:
    """Slow wandering around 0, about 1 wide."""
    return sum(_wave(random, stage, 0.15, 0.9) for _ in range(3)) / 1.6


def _blinks(random: RandomState, stage: Stage) -> Track:
    """A blink of a sixth of a second every few seconds."""
    shut = torch.zeros(stage.frames)
    time = random.uniform(0, 3.0)
    while time < stage.frames / stage.fps:
        shut = torch.maximum(shut, (1 - (stage.seconds - time).abs() / 0.11).clamp(min=0))
        time += random.uniform(1.2, 4.0)
    return (1.6 * shut).clamp(max=1)


def _smooth(track: Track, reach: int) -> Track:
    kernel = np.hanning(2 * reach + 3)[1:-1]
    padded = np.pad(track.numpy(), len(kernel) // 2, mode="edge")
    return torch.from_numpy(np.convolve(padded, kernel / kernel.sum(), mode="valid")).float()
