"""`python -m byav_core train`: a stage from a file, and one sentence for everything that the user can mend."""

import json

import pytest

from byav_core import __main__ as cli
from byav_core.checkpoints import load_models
from byav_core.training.journal import read_journal


@pytest.fixture
def config(tmp_path):
    """A training of one step in the drawn world."""
    stages = {f"stage {n}": {"steps": 1, "batch": 1, "lora_rank": 4} for n in (1, 2, 3)}
    values = {
        "data": {"drawn": 2, "people": [1, 2]},
        "output": str(tmp_path / "out"),
        "workers": 0,
        "every": {"sheet": 1, "clips": 1, "sampling_steps": 2},
        "stages": stages,
    }
    path = tmp_path / "training.json"
    path.write_text(json.dumps(values))
    return path


def run(*arguments):
    return cli.main(["train", *(str(argument) for argument in arguments)])


@pytest.mark.slow
def test_a_stage_is_trained_in_the_drawn_world(config, tmp_path, capsys):
    assert run("--config", config, "--stage", 1) == 0
    said = capsys.readouterr()
    weights = tmp_path / "out" / "stage-1.safetensors"
    assert f"wrote {weights}" in said.out and "stage 1: 100%" in said.err
    assert load_models(weights).config.trained == "stage 1"
    assert (tmp_path / "out" / "sheets" / "stage-1-000001.png").is_file()
    assert run("--config", config, "--stage", 1, "--resume") == 0
    assert [line["step"] for line in read_journal(tmp_path / "out" / "stage-1.jsonl")] == [1]


def test_a_stage_before_its_time_is_refused(config, capsys):
    assert run("--config", config, "--stage", 3) == 2
    assert "stage-2.safetensors; train stage 2 first" in capsys.readouterr().err


def test_the_memory_table_names_every_stage(config, capsys):
    assert run("--config", config, "--memory", "--gpus", 4) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("4 GPUs", "stage 1", "stage 2", "stage 3", "ZeRO-2", "FSDP2"))


def test_memory_on_no_gpu_is_refused(config, capsys):
    for gpus in (0, -1):
        assert run("--config", config, "--memory", "--gpus", gpus) == 2
        assert f"--gpus {gpus} is too few; choose 1 or more" in capsys.readouterr().err


def test_the_memory_of_a_small_model_is_told_in_small_units(config, capsys):
    assert run("--config", config, "--memory") == 0
    said = capsys.readouterr().out
    assert "MB" in said and not [word for word in said.split() if word in ("0.00B", "0.0")]


def test_encoders_on_a_device_that_is_none_are_refused(config, capsys):
    values = json.loads(config.read_text())
    values["data"]["encode_on"] = "kuda"
    config.write_text(json.dumps(values))
    assert run("--config", config, "--stage", 1) == 2
    assert "encode_on is 'kuda', and there is no such device here" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, complaint",
    [((), "which stage?"), (("--stage", 4), "no stage 4"), (("--stage", 0), "no stage 0")],
)
def test_a_stage_that_is_none_is_refused(arguments, complaint, config, capsys):
    assert run("--config", config, *arguments) == 2
    assert complaint in capsys.readouterr().err


def test_a_configuration_that_is_not_there_is_named(tmp_path, capsys):
    assert run("--config", tmp_path / "none.json", "--stage", 1) == 2
    assert "there is no training configuration" in capsys.readouterr().err
