"""People drawn as squares of one colour each: a finder and a recognition that see them without a network."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from byav_core.config import tiny
from byav_core.encoders.face_insight_clip import load_face_encoder
from byav_core.encoders.matte import EllipseMatte
from byav_core.perception.face_finder import CenterFaceFinder
from byav_core.perception.locator import FaceLocator
from byav_core.types import Character, FaceFeatures

COLOURS = {"Anna": (1.0, 0.0, 0.0), "Ben": (0.0, 1.0, 0.0), "Cleo": (0.0, 0.0, 1.0)}


@pytest.fixture
def drawn():
    """A black picture with a square for each person named."""

    def draw(height: int, width: int, **boxes: tuple[int, int, int, int]) -> torch.Tensor:
        picture = torch.zeros(3, height, width)
        for name, (left, top, right, bottom) in boxes.items():
            picture[:, top:bottom, left:right] = torch.tensor(COLOURS[name])[:, None, None]
        return picture

    return draw


@pytest.fixture
def cast_of():
    """Characters by name; those in `unknown` have a reference in which no face was found."""

    def make(*names: str, unknown: tuple[str, ...] = ()) -> tuple[Character, ...]:
        return tuple(person(name, name not in unknown) for name in names)

    return make


def person(name: str, found: bool) -> Character:
    identity = torch.cat([torch.tensor(COLOURS[name]), torch.full((2,), 9.0)])  # recognition first, then the rest
    return Character(name, torch.zeros(3, 2, 2), FaceFeatures(identity, (), torch.zeros(3, 2, 2), found))


def find(picture):
    boxes = []
    for colour in COLOURS.values():
        ys, xs = ((picture - torch.tensor(colour)[:, None, None]).abs().sum(0) < 0.1).nonzero(as_tuple=True)
        if len(xs):
            boxes.append((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    middle = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    return boxes, middle.expand(-1, 5, -1), torch.ones(len(boxes))


def recognise(picture, landmarks):
    points = landmarks[:, 0].long()
    return picture[:, points[:, 1], points[:, 0]].T


@pytest.fixture
def squares():
    return FaceLocator(find, recognise)


@pytest.fixture(scope="session")
def face_encoder():
    """The small networks, handed faces by a finder."""
    return replace(load_face_encoder("tiny", tiny().face), find=CenterFaceFinder(), matte=EllipseMatte())


def to_tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1) / 255


@pytest.fixture(scope="session")
def pictures(real_inputs):
    """Anna, Ben and Carla, and Anna (left) and Ben (right) together; 0..1, channels first."""
    return {name: to_tensor(picture) for name, picture in real_inputs.pictures().items()}


@pytest.fixture(scope="session")
def group(real_inputs):
    return to_tensor(real_inputs.group_photograph())
