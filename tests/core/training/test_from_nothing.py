"""The tiny model again from nothing: what it is made by, and, shortened, all of it."""

import json
from dataclasses import asdict
from itertools import pairwise

import pytest

from byav_core.checkpoints import load_models
from byav_core.checkpoints.single_file import CONFIG
from byav_core.checkpoints.tensors import read_metadata, write_safetensors
from byav_core.config import ModelConfig, tiny
from byav_core.encoders.face_insight_clip import load_face_encoder
from byav_core.encoders.speech_wav2vec import load_speech_encoder
from byav_core.training import from_nothing
from byav_core.training.companions import LEARNINGS
from byav_core.training.config import read_training
from byav_core.training.from_nothing import claim, finished, quick_recipe, speak, train_stage, train_tiny, whole_recipe
from byav_core.training.journal import read_journal


@pytest.fixture
def claimed(tmp_path):
    claim(tmp_path, quick_recipe())
    return tmp_path


@pytest.mark.parametrize("recipe", [whole_recipe(), quick_recipe()], ids=["whole", "quick"])
def test_all_trainings_use_what_was_made_in_the_folder(recipe, tmp_path):
    claim(tmp_path, recipe)
    stills, clips, faces, three = trainings = [read_training(tmp_path / f"{name}.json") for name in from_nothing.STAGES]
    for config in trainings:
        assert config.companions == config.face_model == config.speech_model == from_nothing.COMPANIONS
        assert config.data.voices == (from_nothing.VOICES if recipe.speaks else None)
        assert all(stage.batch % (config.rows * 2) == 0 for stage in config.stages[: 1 if config is stills else 3])
    assert stills.start is None and stills.data.frames == 1
    last = [numbers[-1] for numbers in from_nothing.STAGES.values()]
    for (before, number), (after, _) in pairwise(zip(trainings, last, strict=True)):
        assert after.start == str(before.weights(number))
    assert {config.companions_folder for config in (clips, faces, three)} == {from_nothing.COMPANIONS}
    for config, numbers in zip(trainings, from_nothing.STAGES.values(), strict=True):
        assert config.first_stage == min(numbers)


def test_the_whole_recipe_is_that_of_the_files():
    recipe = whole_recipe()
    assert recipe.learnings == LEARNINGS and recipe.speaks and not quick_recipe().speaks
    assert json.loads(recipe.as_words())["learnings"]["face"] == asdict(LEARNINGS["face"])


def test_a_folder_belongs_to_the_recipe_that_began_it(claimed):
    claim(claimed, quick_recipe())
    with pytest.raises(ValueError, match="holds what another recipe made; choose another folder"):
        claim(claimed, whole_recipe())


def test_voices_are_whole_or_not_there(tmp_path, monkeypatch):
    def cut_short(folder):
        folder.mkdir()
        yield folder / "first.wav"
        raise FileNotFoundError("there is no eSpeak NG")

    monkeypatch.setattr(from_nothing, "write_voices", cut_short)
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match="no eSpeak NG"):
            speak(tmp_path / "voices")
        assert not (tmp_path / "voices").exists()


def test_only_the_last_weights_of_a_stage_are_finished_ones(claimed):
    assert not finished(claimed, "stills", 1)
    path = claimed / "stills" / "stage-1.safetensors"
    path.parent.mkdir()
    for trained, done in (("stage 1, step 3 of 30", False), ("stage 1", True)):
        values = json.loads(tiny().to_json()) | {"trained": trained}
        write_safetensors({}, path, {CONFIG: ModelConfig.from_json(json.dumps(values)).to_json()})
        assert finished(claimed, "stills", 1) is done


def test_a_stage_that_fails_is_named_with_what_to_do(claimed, capfd):
    with pytest.raises(ChildProcessError, match="clips, stage 2, ended with code 2; .* goes on from its last state"):
        train_stage(claimed, "clips", 2, processes=1)
    assert "stage-1.safetensors; train stage 1 first" in capfd.readouterr().err


@pytest.mark.slow
def test_everything_learns_and_what_it_leaves_is_a_model(tmp_path):
    """On two processes, in well under two minutes on two cores."""
    said = []
    made = train_tiny(tmp_path, quick_recipe(), processes=2, report=said.append)

    for name, losses in losses_said(said).items():
        assert losses[-1] < losses[0], f"what stays frozen ({name}) lost {losses}"
    first, last = (read_journal(tmp_path / path) for path in ("stills/stage-1.jsonl", "three/stage-3.jsonl"))
    assert [line["step"] for line in last] == list(range(1, 13))  # one line for each: both processes are one training
    for name in ("total", "denoising", "routing"):
        early, late = (sum(line[name] for line in part) / len(part) for part in (first[:5], last[-10:]))
        assert late < 0.9 * early, f"{name} was {early:.3f} and is {late:.3f}"

    box, config = tmp_path / "weights", tiny()
    assert sum(path.stat().st_size for path in made) < 20e6
    models = load_models(box / "tiny.safetensors")
    assert models.config.trained == "drawn world, stage 3"
    assert load_face_encoder(box, config.face).trained == load_speech_encoder(box, config.speech).trained
    assert json.loads(read_metadata(box / "tiny_video.safetensors")["scores"])["psnr"] > 5

    said.clear()
    assert train_tiny(tmp_path, quick_recipe(), processes=2, report=said.append) == made
    assert not losses_said(said)


def losses_said(lines: list[str]) -> dict[str, list[float]]:
    """By what learnt."""
    found, name = {}, ""
    for line in lines:
        if line.startswith("learning: "):
            name = line.removeprefix("learning: ")
        elif "loss" in line:
            found.setdefault(name, []).append(float(line.rpartition(" ")[2]))
    return found
