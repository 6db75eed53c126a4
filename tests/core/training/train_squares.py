"""Trains all parts for three steps, on the CPU, in as many processes as it is started in."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from byav_core import config as model_config  # noqa: E402 found only now
from byav_core.training.config import Data, Every, TrainingConfig  # noqa: E402
from byav_core.training.dataset import Drawn  # noqa: E402
from byav_core.training.stages import STAGES  # noqa: E402
from byav_core.training.trainer import train  # noqa: E402

if __name__ == "__main__":
    spec = importlib.util.spec_from_file_location("clips", Path(__file__).with_name("conftest.py"))
    clips = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(clips)
    tiny = model_config.tiny()
    tiny = replace(tiny, fps=clips.FPS, transformer=replace(tiny.transformer, num_layers=2))
    model_config.PRESETS["tiny"] = lambda: tiny
    parts = ("transformer", "face cross-attention", "audio cross-attention", "face extractor", "router")
    stage = replace(STAGES[2], trains=parts, steps=3, batch=4, learning_rate=1e-3, warm_up=1, teacher_forcing=0.5)
    config = TrainingConfig(
        Data(folder="unused"), sys.argv[1], rows=2, stages=(stage,), workers=0, every=Every(sheet=3, clips=1, save=3)
    )
    train(config, 1, source=Drawn(clips.square_people, {1: 2, 2: 2, 3: 1}))
