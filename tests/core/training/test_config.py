"""Trainings from files: what they may say, and that those that come with the project hold."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from byav_core.training import config as here
from byav_core.training.config import TrainingConfig, read_training
from byav_core.training.stages import STAGES

CONFIGS = Path(here.__file__).parent / "configs"


@pytest.fixture
def written(tmp_path):
    """Writes a configuration and gives its path."""

    def write(**values):
        path = tmp_path / "training.json"
        path.write_text(json.dumps({"data": {"folder": "clips"}, "output": "out", **values}))
        return path

    return write


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.stem)
def test_the_configurations_of_the_project_are_read(path):
    config = read_training(path)
    assert config.numbers and [config.stage(n).name for n in config.numbers] == [f"stage {n}" for n in config.numbers]


def test_the_full_size_training_is_the_papers():
    config = read_training(CONFIGS / "paper.json")
    assert config.stages == STAGES and config.model == "paper" and config.precision == "bf16"


def test_a_file_says_only_what_is_unlike_the_paper(written):
    config = read_training(written(stages={"stage 2": {"steps": 7, "drops": {"text": 0.2}}}))
    assert config.stages[0] == STAGES[0] and config.stages[1].steps == 7
    assert asdict(config.stages[1].drops) == {**asdict(STAGES[1].drops), "text": 0.2}
    assert config.stages[1].batch == STAGES[1].batch


@pytest.mark.parametrize(
    "values, complaint",
    [
        ({"stages": {"stage 4": {}}}, "no stages \\['stage 4'\\]; there are stage 1, stage 2, stage 3"),
        ({"stages": {"stage 1": {"stepz": 1}}}, "unknown fields \\['stepz'\\]"),
        ({"stages": {"stage 1": {"steps": "many"}}}, "steps is 'many'; expected int"),
        ({"data": {}}, "either a folder of samples or a number of scenes"),
        ({"model": "huge"}, "no model 'huge'; choose one of paper, released, tiny"),
        ({"precision": "fp8"}, "expected no or bf16"),
        ({"rows": 5}, "no multiple of rows, 5"),
    ],
)
def test_what_a_file_may_not_say_is_named(written, values, complaint):
    with pytest.raises(ValueError, match=complaint):
        read_training(written(**values))


def test_a_file_that_is_none_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no training configuration"):
        read_training(tmp_path / "nothing.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        read_training(tmp_path / "broken.json")


@pytest.mark.parametrize(
    "values, folder", [({}, None), ({"companions": "models"}, "models"), ({"start": "ours.safetensors"}, None)]
)
def test_text_encoder_and_autoencoder_travel_with_the_weights_unless_they_have_a_folder(written, values, folder):
    assert read_training(written(**values)).companions_folder == folder


def test_a_base_models_folder_has_them(written, tmp_path):
    assert read_training(written(start=str(tmp_path))).companions_folder == str(tmp_path)


def test_there_are_three_stages(written):
    config = read_training(written())
    assert isinstance(config, TrainingConfig)
    with pytest.raises(ValueError, match="no stage 4"):
        config.stage(4)


def test_a_training_may_begin_with_a_later_stage(written):
    config = read_training(written(start="ours.safetensors", first_stage=2))
    assert list(config.numbers) == [2, 3]
    with pytest.raises(ValueError, match="no stage 1; there are 2 to 3"):
        config.stage(1)
    with pytest.raises(ValueError, match="first_stage is 4; give one of 1 to 3"):
        read_training(written(first_stage=4))
