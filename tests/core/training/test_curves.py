"""The picture of a training's losses."""

import json

import pytest
from PIL import Image

from byav_core.training.curves import SHOWN, draw_curves


def journal(path, steps: int, value: float):
    lines = ({"step": step} | dict.fromkeys(SHOWN[: step + 1], value / step) for step in range(1, steps + 1))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_stages_follow_each_other_with_a_panel_for_each_loss(tmp_path):
    one, two = journal(tmp_path / "1.jsonl", 5, 2.0), journal(tmp_path / "2.jsonl", 3, 1.0)
    alone = Image.open(draw_curves({"stage 1": one}, tmp_path / "alone.png"))
    both = Image.open(draw_curves({"stage 1": one, "stage 2": two}, tmp_path / "both.png"))
    assert alone.size == both.size and alone.width > 2 * alone.height
    assert alone.tobytes() != both.tobytes()


def test_a_journal_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no journal .*gone.jsonl; train first"):
        draw_curves({"stage 1": tmp_path / "gone.jsonl"}, tmp_path / "curves.png")
