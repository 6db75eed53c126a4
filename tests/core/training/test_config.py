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
    assert not config.data.keep  # a clip takes some 50 MB


def test_a_file_says_only_what_is_unlike_the_paper(written):
    config = read_training(written(stages={"stage 2": {"steps": 7, "drops": {"text": 0.2}}}))
    assert config.stages[0] == STAGES[0] and config.stages[1].steps == 7
    assert asdict(config.stages[1].drops) == {**asdict(STAGES[1].drops), "text": 0.2}
    assert config.stages[1].batch == STAGES[1].batch


@pytest.mark.parametrize(
    "values, complaint",
    [
        ({"stages": {"stage 4": {}}}, "no stages \\['stage 4'\\]; there are stage 1, stage 2, stage 3"),
        ({"stages": []}, r"training.json: stages is \[\]; say what is unlike the paper"),
        ({"stages": {"stage 1": 5}}, 'stages is {"stage 1": 5}; say what is unlike the paper'),
        ({"stages": {"stage 1": {"stepz": 1}}}, "unknown fields \\['stepz'\\]"),
        ({"stages": {"stage 1": {"steps": "many"}}}, "steps is 'many'; expected int"),
        ({"data": {}}, "either a folder of samples or a number of scenes"),
        ({"model": "huge"}, "no model 'huge'; choose one of paper, released, tiny"),
        ({"precision": "fp8"}, "expected no or bf16"),
        ({"rows": 5}, "no multiple of rows, 5"),
        ({"betas": [0.9]}, r"betas is \(0.9,\); it should be two numbers"),
        ({"data": {"drawn": 3, "people": []}}, "people names no number"),
        ({"stages": {"stage 1": {"trains": []}}}, "stage 1 trains nothing; name some of transformer"),
    ],
)
def test_what_a_file_may_not_say_is_named(written, values, complaint):
    with pytest.raises(ValueError, match=complaint):
        read_training(written(**values))


@pytest.mark.parametrize(
    "where, name, values",
    [
        ("training", "rows", (0,)),
        ("training", "betas", ([0.9, 1.0], [-0.1, 0.9])),
        ("training", "ema", (1.0, -0.5)),
        ("training", "gradient_clip", (0.0, -1.0)),
        ("training", "workers", (-1,)),
        ("every", "log", (0, -1)),
        ("every", "save", (0,)),
        ("every", "keep", (0,)),
        ("every", "sheet", (-1,)),
        ("data", "people", ([0], [2, -1])),
        ("data", "drawn", (-3,)),
        ("data", "lips", (-1.0, float("nan"))),
        ("stage 2", "steps", (0,)),
        ("stage 2", "batch", (0, -16)),
        ("stage 2", "learning_rate", (0.0, -1e-3, float("inf"), float("nan"))),
        *(("stage 3", name, (-0.1, 1.1)) for name in ("teacher_forcing", "single_character", "dynamic_mask")),
        ("stage 3", "mask_dropout", (1.5,)),
        ("stage 3", "drops", ({"text": 1.5}, {"speech": -0.1})),
        ("stage 3", "losses", ({"agreement": -8.0},)),
    ],
)
def test_a_number_out_of_its_range_is_named_with_the_range(written, where, name, values):
    for value in values:
        changes = {name: value}
        if where.startswith("stage"):
            changes = {"stages": {where: changes}}
        elif where != "training":
            changes = {where: {"folder": "clips", **changes} if where == "data" else changes}
        field = next(iter(value)) if isinstance(value, dict) else name
        with pytest.raises(ValueError, match=rf"{field} is .*; it should be (0 or|1 or|from 0|more than)"):
            read_training(written(**changes))


@pytest.mark.parametrize("missing", ["data", "output"])
def test_what_a_file_should_say_and_does_not_is_named(missing, written):
    path = written()
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != missing}))
    with pytest.raises(ValueError, match=f"training.json says no {missing}; the files in .* show how"):
        read_training(path)


def test_a_file_that_is_none_is_named(tmp_path):
    with pytest.raises(IsADirectoryError, match=f"{tmp_path} is a folder; name the training configuration in it"):
        read_training(tmp_path)
    (tmp_path / "latin.json").write_bytes(b'{"output": "\xe9"}')
    with pytest.raises(ValueError, match="latin.json is not JSON in UTF-8"):
        read_training(tmp_path / "latin.json")
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
