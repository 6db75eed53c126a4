"""The loop: what it learns, what it leaves behind, and that stopping it changes nothing."""

import os
import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from byav_core import config as model_config
from byav_core.checkpoints import load_models
from byav_core.training import trainer
from byav_core.training.config import Data, Every, TrainingConfig
from byav_core.training.journal import read_journal
from byav_core.training.stages import STAGES, Drops
from byav_core.training.step import TrainingStep
from byav_core.training.trainer import train

ROOT = Path(__file__).resolve().parents[3]
NOTHING_DROPPED = Drops(0.0, 0.0, 0.0, 0.0)


def brief(stage, **changes):
    return replace(stage, **{"steps": 6, "batch": 4, "lora_rank": 4, "warm_up": 2, "learning_rate": 1e-3, **changes})


@pytest.fixture
def training(small_config, examples, tmp_path, monkeypatch):
    """A configuration of six short steps; keyword arguments change it. Clips are encoded once for all tests."""
    monkeypatch.setitem(model_config.PRESETS, "small", lambda: small_config)
    monkeypatch.setattr(trainer, "examples_of", lambda _, __, source: replace(examples, source=source))

    def configured(**changes):
        values = {
            "data": Data(folder="unused", keep=False),
            "output": str(tmp_path / "out"),
            "model": "small",
            "stages": tuple(brief(stage) for stage in STAGES),
            "rows": 2,
            "workers": 0,
            "every": Every(sheet=0, save=2),
        }
        return TrainingConfig(**{**values, **changes})

    return configured


class Killed(Exception):
    pass


def nan_loss(step, losses):
    return losses | {"total": losses["total"] * float("nan")}


def nan_gradient(step, losses):
    """The derivative of a root is infinite at zero."""
    trained = next(p for p in step.parameters() if p.requires_grad)
    return losses | {"total": losses["total"] + (0 * trained.sum()).sqrt()}


def stopped_after(steps, monkeypatch):
    """The loop is cut off in the middle of the next step."""
    plain = trainer.Run._step

    def step(self, number, batches):
        if number == steps:
            raise Killed
        return plain(self, number, batches)

    monkeypatch.setattr(trainer.Run, "_step", step)


@pytest.mark.parametrize("number", [1, 3])
def test_killed_and_resumed_is_never_killed_bit_for_bit(number, training, squares, tmp_path, monkeypatch):
    stages = tuple(brief(stage, steps=1, batch=2) for stage in STAGES[: number - 1])
    stages += (brief(STAGES[number - 1], steps=5),)
    configs = [training(output=str(tmp_path / name), stages=stages) for name in ("whole", "killed")]
    for config in configs:
        for before in range(1, number):
            train(config, before, source=squares)
    train(configs[0], number, source=squares)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stopped_after(3, patch)
        train(configs[1], number, source=squares)
    train(configs[1], number, resume=True, source=squares)

    whole, killed = (load_file(config.weights(number)) for config in configs)
    assert whole.keys() == killed.keys() and all(torch.equal(whole[name], killed[name]) for name in whole)
    logs = [read_journal(tmp_path / name / f"stage-{number}.jsonl") for name in ("whole", "killed")]
    assert logs[0] == logs[1] and [line["step"] for line in logs[0]] == [1, 2, 3, 4, 5]


def test_three_stages_follow_one_another_and_leave_models_that_load(training, squares, tmp_path):
    config = training(stages=tuple(brief(stage, steps=2) for stage in STAGES))
    for number in (1, 2, 3):
        path = train(config, number, source=squares)
        models = load_models(path)
        assert models.config.trained == f"stage {number}" and models.config.name == "small"
        assert not [name for name in load_file(path) if "lora" in name]
    first, last = (load_file(config.weights(number)) for number in (1, 3))
    changed = {name.split(".")[0] for name in first if not torch.equal(first[name], last[name])}
    assert changed == {"transformer", "face_extractor", "speech_projector", "router"}


def test_a_stage_waits_for_the_one_before(training, squares):
    with pytest.raises(FileNotFoundError, match="stage-1.safetensors; train stage 1 first"):
        train(training(), 2, source=squares)


def test_a_stage_waits_for_the_end_of_the_one_before(training, squares, monkeypatch):
    config = training()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        stopped_after(3, patch)
        train(config, 1, source=squares)
    with pytest.raises(ValueError, match="not finished, .* stage 1, step 2 of 6; go on with --stage 1 --resume first"):
        train(config, 2, source=squares)


def test_only_the_last_states_stay_on_disk(training, squares, tmp_path):
    config = training(every=Every(sheet=0, save=1, keep=2), stages=tuple(brief(s, steps=3) for s in STAGES))
    train(config, 1, source=squares)
    assert sorted(path.name for path in (tmp_path / "out" / "states" / "stage-1").iterdir()) == [
        "step-000002",
        "step-000003",
    ]


def test_what_was_trained_is_neither_lost_nor_mixed_with_another_training(training, squares):
    """Beginning anew would lose its states; going on with other values would be neither the one nor the other."""
    config = training(stages=tuple(brief(stage, steps=2) for stage in STAGES))
    train(config, 1, source=squares)
    with pytest.raises(FileExistsError, match="states up to step 2 in .*stage-1; go on with --resume, or remove"):
        train(config, 1, source=squares)
    longer = training(seed=7, ema=0.5, stages=tuple(brief(stage, steps=3) for stage in STAGES))
    with pytest.raises(ValueError) as refused:
        train(longer, 1, resume=True, source=squares)
    for change in ("ema was 0.999 and is now 0.5", "seed was 42 and is now 7", "stage.steps was 2 and is now 3"):
        assert change in str(refused.value)
    assert "anew" in str(refused.value) and "rows" not in str(refused.value)

    as_well = replace(config, workers=1, gradient_checkpointing=True, every=Every(log=2, sheet=0, save=1, keep=1))
    train(as_well, 1, resume=True, source=squares)
    Path(config.output, "states").rename(Path(config.output, "earlier"))
    train(longer, 1, source=squares)
    assert len(read_journal(Path(config.output) / "stage-1.jsonl")) == 3


def test_a_state_cut_short_is_left_out_for_the_one_before(training, squares, tmp_path, caplog):
    config = training(every=Every(sheet=0, save=1, keep=2), stages=tuple(brief(s, steps=3) for s in STAGES))
    whole = load_file(train(config, 1, source=squares))
    cut = tmp_path / "out" / "states" / "stage-1" / "step-000003" / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:1000])
    again = load_file(train(config, 1, resume=True, source=squares))
    assert f"{cut} is not whole and is left out" in caplog.text
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert len(read_journal(Path(config.output) / "stage-1.jsonl")) == 3


def test_a_loss_that_is_no_number_stops_the_training(training, squares):
    config = training(stages=tuple(brief(stage, learning_rate=1e30, warm_up=0) for stage in STAGES))
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        train(replace(config, gradient_clip=1e30), 1, source=squares)


@pytest.mark.parametrize("step", [3, 6], ids=["in the middle", "at the end"])
@pytest.mark.parametrize("poison", [nan_loss, nan_gradient])
def test_nothing_learns_from_a_pass_that_is_no_number(poison, step, training, squares, monkeypatch):
    """One pass of two; the other one is well."""
    plain, passes = TrainingStep.forward, count(1)

    def poisoned(self, *arguments):
        losses = plain(self, *arguments)
        return poison(self, losses) if next(passes) == 2 * step - 1 else losses

    monkeypatch.setattr(TrainingStep, "forward", poisoned)
    config, learnt = training(), []
    monkeypatch.setattr(trainer.EMAModel, "step", lambda *_: learnt.append(step))
    with pytest.raises(FloatingPointError, match=f"of step {step} of stage 1 is no number; lower the learning rate"):
        train(config, 1, source=squares)
    before = (step - 1) // 2 * 2  # saved every two steps
    assert len(learnt) == step - 1
    assert load_models(config.weights(1)).config.trained == f"stage 1, step {before} of 6"
    assert all(torch.isfinite(tensor).all() for tensor in load_file(config.weights(1)).values())
    states = sorted((Path(config.output) / "states" / "stage-1").iterdir())
    assert states[-1].name == f"step-{before:06}"


def test_workers_change_nothing(training, squares, tmp_path):
    weights = []
    for workers in (0, 2):
        config = training(output=str(tmp_path / str(workers)), workers=workers)
        config = replace(config, stages=tuple(brief(stage, steps=2) for stage in STAGES))
        weights.append(load_file(train(config, 1, source=squares)))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_passes_of_other_sizes_share_the_same_number_of_clips(training, squares, monkeypatch):
    plain, seen = TrainingStep.forward, []

    def counted(self, batch, generator):
        seen.append(len(batch.names))
        return plain(self, batch, generator)

    monkeypatch.setattr(TrainingStep, "forward", counted)
    for rows, passes in ((1, [1, 1, 1, 1]), (2, [2, 2]), (4, [4])):
        config = training(rows=rows, output=training().output + str(rows))
        train(replace(config, stages=tuple(brief(s, steps=2) for s in STAGES)), 1, source=squares)
        assert seen == passes * 2
        seen.clear()


def test_a_contact_sheet_shows_each_clip_twice(training, squares, tmp_path):
    from PIL import Image

    every = Every(sheet=2, save=2, clips=1, sampling_steps=2)
    config = training(every=every, stages=tuple(brief(stage, steps=2) for stage in STAGES))
    train(config, 1, source=squares)
    with Image.open(tmp_path / "out" / "sheets" / "stage-1-000002.png") as sheet:
        assert sheet.height > 2 * 2 * 32 and len(set(sheet.convert("L").getdata())) > 10


def test_bf16_keeps_what_trains_in_float32(training, squares):
    config = training(precision="bf16", stages=tuple(brief(stage, steps=2) for stage in STAGES))
    path = train(config, 1, source=squares)
    dtypes = {name: x.dtype for name, x in load_file(path).items()}
    assert dtypes["transformer.transformer_blocks.0.attn1.to_q.weight"] == torch.float32
    assert dtypes["speech_projector.proj1.weight"] == torch.bfloat16
    train(config, 2, source=squares)


def test_batches_that_cannot_be_shared_are_refused(training):
    with pytest.raises(ValueError, match="no multiple of rows, 3"):
        training(rows=3)


def test_every_loss_falls_when_a_few_clips_are_learned_by_heart(training, squares, examples, monkeypatch):
    """All four equations at once, from a router that is sure of itself and wrong, each layer in its own way: eq. 3
    and 4 are next to nothing for one that says the same of every token. Nobody moves, so that the truth is smoother
    than what this router says."""

    def resting(seed, characters):
        sample = squares.draw(seed, characters)
        frames, masks = sample.frames[:1].expand_as(sample.frames), sample.masks[:, :1].expand_as(sample.masks)
        return replace(sample, frames=frames.clone(), masks=masks.clone())

    start = trainer.starting_models

    def opinionated(*arguments):
        models = start(*arguments)
        models.network.router.final_proj[0].weight.data *= 30
        return models

    monkeypatch.setattr(trainer, "starting_models", opinionated)
    parts = ("transformer", "face cross-attention", "audio cross-attention", "face extractor", "router")
    stage = brief(
        STAGES[2], trains=parts, steps=50, batch=2, drops=NOTHING_DROPPED, learning_rate=4e-3, single_character=0.0
    )
    monkeypatch.setattr(trainer, "examples_of", lambda _, __, source: replace(examples, source=source, folder=None))
    config = training(stages=(stage,), every=Every(sheet=0, save=50))
    train(config, 1, source=replace(squares, draw=resting, counts={2: 2}))
    log = read_journal(Path(config.output) / "stage-1.jsonl")
    for name in ("total", "denoising", "routing", "smoothness", "agreement"):
        early, late = (sum(line[name] for line in part) / len(part) for part in (log[:5], log[-10:]))
        assert late < 0.85 * early, f"{name} was {early:.3f} and is {late:.3f}"


def in_processes(count, script, *arguments):
    """Runs a script that lies beside this file in so many processes on the CPU, which talk over gloo."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, Path(__file__).with_name(script), *arguments], check=True, timeout=300, env=alone)


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path):
    """The same losses and weights, up to the order of sums."""
    for processes in (1, 2):
        in_processes(processes, "train_squares.py", str(tmp_path / str(processes)))
    one, two = (read_journal(tmp_path / name / "stage-1.jsonl") for name in "12")
    assert len(one) == len(two) == 3
    for line, other in zip(one, two, strict=True):
        assert line == pytest.approx(other, rel=1e-4)
    one, two = (load_file(tmp_path / name / "stage-1.safetensors") for name in "12")
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)


@pytest.mark.slow
def test_a_network_shared_out_by_fsdp2_has_the_gradients_of_a_whole_one(tmp_path):
    """Faces and voices are projected by methods of the blocks, so only the root may be shared out."""
    in_processes(2, "shard_step.py", str(tmp_path / "difference"))
    assert float((tmp_path / "difference").read_text()) < 1e-6
