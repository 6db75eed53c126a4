"""What a training says of itself: with TensorBoard, and where that is not installed."""

import sys
from types import ModuleType

import pytest
from PIL import Image

from byav_core.training.journal import Journal, read_journal

HERE = "torch.utils.tensorboard"


class Writer:
    """What TensorBoard's does, written down."""

    def __init__(self, folder, purge_step):
        self.said = [("folder", folder, purge_step)]

    def add_scalar(self, name, value, step):
        self.said.append((name, value, step))

    def add_image(self, name, picture, step):
        self.said.append((name, tuple(picture.shape), step))

    def close(self):
        self.said.append("closed")


@pytest.fixture
def writers(monkeypatch):
    """Those that were made."""
    made, module = [], ModuleType(HERE)
    module.SummaryWriter = lambda *arguments, **named: made.append(Writer(*arguments, **named)) or made[-1]
    monkeypatch.setitem(sys.modules, HERE, module)
    return made


def test_tensorboard_is_told_what_the_log_says(writers, tmp_path):
    journal = Journal(tmp_path, "stage-1", step=4)
    journal.write(5, {"total": 0.5, "iou": 0.25})
    journal.show(5, Image.new("RGB", (7, 3)))
    journal.close()
    (writer,) = writers
    assert writer.said == [
        ("folder", str(tmp_path / "tensorboard" / "stage-1"), 5),
        ("total", 0.5, 5),
        ("iou", 0.25, 5),
        ("clips", (3, 3, 7), 5),
        "closed",
    ]
    assert read_journal(tmp_path / "stage-1.jsonl") == [{"step": 5, "total": 0.5, "iou": 0.25}]


def test_without_tensorboard_it_is_said_what_to_install(monkeypatch, tmp_path, caplog):
    monkeypatch.setitem(sys.modules, HERE, None)
    journal = Journal(tmp_path, "stage-1")
    journal.write(1, {"total": 0.5})
    journal.close()
    assert caplog.text.count("pip install tensorboard") == 1
    assert read_journal(tmp_path / "stage-1.jsonl") == [{"step": 1, "total": 0.5}]
