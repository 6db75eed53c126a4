import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from byav_core.encoders.aligned_face import SIZE, AlignedFace
from byav_core.encoders.matte import EllipseMatte, FaceParsing, everything


@pytest.fixture
def face():
    crop = torch.zeros(3, SIZE, SIZE)
    crop[0, :, 256:] = 1.0
    return AlignedFace(crop, torch.ones(SIZE, SIZE))


class TwoLabels(nn.Module):
    """Stands for BiSeNet: says skin (1) where the picture is red and neck (14) elsewhere."""

    def __init__(self, num_class: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.classes = num_class

    def forward(self, x):
        scores = torch.zeros(len(x), self.classes, *x.shape[-2:])
        scores[:, 1], scores[:, 14] = x[:, 0] * self.scale, -x[:, 0] * self.scale
        return scores, scores, scores


@pytest.fixture
def facexlib(monkeypatch):
    """The optional package, with that network in it."""
    module = ModuleType("facexlib.parsing.bisenet")
    module.BiSeNet = TwoLabels
    for name in ("facexlib", "facexlib.parsing"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "facexlib.parsing.bisenet", module)


def test_the_ellipse_keeps_the_middle_and_drops_the_corners(face):
    matte = EllipseMatte()(face)
    assert matte.shape == (SIZE, SIZE)
    assert (matte[200:420, 180:330] == 1).all()  # eyes, nose and mouth
    assert matte[0].max() == matte[-1].max() == matte[:, 0].max() == matte[:, -1].max() == 0


def test_everything_is_everything(face):
    assert (everything(face) == 1).all()


def test_parsing_drops_what_is_not_face(face, facexlib, tmp_path):
    torch.save({"scale": torch.tensor([2.0])}, tmp_path / "parsing_bisenet.pth")
    parse = FaceParsing(tmp_path / "parsing_bisenet.pth")
    matte = parse(face)
    assert (matte[:, 256:] == 1).all() and (matte[:, :256] == 0).all()
    assert parse.network.scale == 2


def test_damaged_parsing_weights_are_named(facexlib, tmp_path):
    (tmp_path / "parsing_bisenet.pth").write_bytes(b"half a file")
    with pytest.raises(ValueError, match="parsing_bisenet.pth cannot be read as weights"):
        FaceParsing(tmp_path / "parsing_bisenet.pth")
