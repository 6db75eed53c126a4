import math

import pytest
import torch

from byav_core.encoders.aligned_face import LAYOUT, SIZE, AlignedFace, align, whole_picture

LAYOUT_POINTS = torch.tensor(LAYOUT)


def marked(landmarks: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """A black picture with a soft red spot on the first landmark and a green one on the last."""
    picture = torch.zeros(3, height, width)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    for channel, index in ((0, 0), (1, 4)):
        far = (x - landmarks[index, 0]) ** 2 + (y - landmarks[index, 1]) ** 2
        picture[channel] = torch.exp(-far / 18)
    return picture


def brightest(channel: torch.Tensor) -> torch.Tensor:
    row, column = divmod(int(channel.argmax()), channel.shape[1])
    return torch.tensor([column, row], dtype=torch.float32)


@pytest.mark.parametrize("degrees", [0, 25, -40])
@pytest.mark.parametrize("scale", [0.25, 0.6])
def test_turned_scaled_and_shifted_faces_come_to_the_same_layout(degrees, scale):
    turn = math.radians(degrees)
    matrix = scale * torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    landmarks = (LAYOUT_POINTS - 256) @ matrix.T + torch.tensor([230.0, 170.0])
    face = align(marked(landmarks, 380, 500), landmarks)
    assert face.crop.shape == (3, SIZE, SIZE)
    assert (brightest(face.crop[0]) - LAYOUT_POINTS[0]).abs().max() <= 3
    assert (brightest(face.crop[1]) - LAYOUT_POINTS[4]).abs().max() <= 3


def test_what_lies_beyond_the_picture_is_marked():
    landmarks = LAYOUT_POINTS * 0.3 - torch.tensor([40.0, 0.0])  # the left part of the face is cut off
    face = align(torch.ones(3, 150, 120), landmarks)
    assert face.inside[256, 20] == 0 and face.inside[256, 256] == 1
    assert face.crop[:, 256, 20].max() < 0.6
    white = face.on_white(torch.ones(SIZE, SIZE))
    assert white.min() > 0.99


def test_background_becomes_white_and_the_face_stays():
    face = AlignedFace(torch.full((3, SIZE, SIZE), 0.25), torch.ones(SIZE, SIZE))
    matte = torch.zeros(SIZE, SIZE)
    matte[:, :100] = 1
    white = face.on_white(matte)
    assert (white[:, :, :100] == 0.25).all() and (white[:, :, 100:] == 1).all()


@pytest.mark.parametrize("height, width", [(40, 80), (80, 40), (700, 900), (16, 16)])
def test_a_whole_picture_keeps_its_aspect_on_white(height, width):
    face = whole_picture(torch.zeros(3, height, width))
    assert face.crop.shape == (3, SIZE, SIZE)
    dark = face.crop.sum(0) == 0
    assert torch.equal(dark, face.inside.bool())
    rows, columns = dark.any(1).sum(), dark.any(0).sum()
    assert max(rows, columns) == SIZE
    assert float(rows / columns) == pytest.approx(height / width, rel=0.02)


def test_landmarks_that_are_no_face():
    with pytest.raises(ValueError, match="do not form a face; choose another picture"):
        align(torch.zeros(3, 50, 50), torch.full((5, 2), 7.0))
