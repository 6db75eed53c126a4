"""The command line: what it makes, what it keeps, and the one sentence for everything that the user can mend."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from byav_core import __main__ as cli
from byav_core.config import tiny
from byav_core.latents_file import KeptLatents, read_latents, write_latents
from byav_core.routing import ROUTERS
from byav_core.types import Clip, silence
from byav_core.video_file import read_comment, read_video, write_video

SMALL = ["--width", "48", "--height", "32", "--frames", "9", "--steps", "2", "--seed", "3", "--device", "cpu"]


@pytest.fixture(scope="module")
def examples(real_inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    real_inputs.write_examples(folder)
    return folder


@pytest.fixture
def run(examples, tmp_path, monkeypatch, capsys):
    """Runs a command among the example files, with an untrained model; gives exit code, standard output and standard
    error."""
    monkeypatch.chdir(examples)
    monkeypatch.setattr("byav_core.checkpoints.load.TINY", tmp_path / "nowhere" / "tiny.safetensors")

    def command(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


def two_people(*others):
    faces = ["--face", "anna.png", "--face", "ben.png", "--speech", "anna.wav", "--speech", "ben.wav"]
    return ["generate", *faces, "--prompt", "two people talk", *SMALL, *others]


def test_portraits_and_voices_become_a_video_with_sound(run, tmp_path):
    code, said, beside = run(*two_people("--out", tmp_path / "talk.mp4"))
    video = read_video(tmp_path / "talk.mp4")
    assert code == 0 and f"wrote {tmp_path / 'talk.mp4'}" in said
    assert video.frames.shape == (9, 3, 32, 48) and video.fps == tiny().fps and video.audio is not None
    assert "denoising: 100%" in beside
    assert [path.name for path in tmp_path.iterdir()] == ["talk.mp4"]


def test_an_untrained_model_says_so_everywhere(run, tmp_path):
    _, said, beside = run(*two_people("--out", tmp_path / "talk.mp4"))
    assert "untrained" in said and "untrained" in beside
    assert "untrained" in read_comment(tmp_path / "talk.mp4")


def test_the_same_seed_makes_the_same_video(run, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        run(*two_people("--out", tmp_path / name))
    assert torch.equal(read_video(tmp_path / "a.mp4").frames, read_video(tmp_path / "b.mp4").frames)


@pytest.mark.parametrize(
    "others",
    [
        ["--router", "pre", "--first-frame", "together.png"],
        ["--router", "post", "--first-frame", "together.png", "--fit", "pad"],
        ["--router", "fixed", "--mask", "anna_mask.png", "--mask", "ben_mask.png", "--first-frame", "together.png"],
        ["--router", "uniform", "--scheduler", "ddim", "--guidance", "3", "2", "--audio-interval", "0.2", "0.9"],
        ["--matrix", "anna: ben; ben: anna 0.5", "--strength", "1", "0.5", "--refine"],
        ["--name", "Anna", "--name", "Ben", "--voice", "low", "--voice", "high", "--matrix", "low: Ben"],
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_options_reach_the_pipeline(run, tmp_path, others):
    code, _, beside = run(*two_people(*others, "--out", tmp_path / "a.mp4", "--film", tmp_path / "film.mp4"))
    assert code == 0, beside
    assert read_video(tmp_path / "film.mp4").frames.shape == (9, 3, 32, 48)


def test_masks_may_be_a_video(examples, tmp_path):
    frames = torch.zeros(9, 3, 32, 48)
    frames[:5, :, :, :24] = 1
    from byav_core.types import Video

    write_video(tmp_path / "mask.mp4", Video(frames, 25.0))
    (mask,) = cli.read_masks([tmp_path / "mask.mp4"])
    assert mask.shape == (9, 32, 48)
    assert (mask[0, :, :20] > 0.9).all() and (mask[8] < 0.1).all()


def test_latents_are_kept_where_asked(run, tmp_path):
    run(*two_people("--out", tmp_path / "a.mp4", "--keep", tmp_path / "kept.safetensors"))
    kept = read_latents(tmp_path / "kept.safetensors")
    assert kept.latents.shape == (1, 3, 96, 4, 6) and kept.names == ("anna", "ben")
    assert kept.clip.frames == 9 and kept.trained == "untrained"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "kept.safetensors"]


def test_finished_latents_survive_a_failure_and_decode_to_the_same_video(run, tmp_path, monkeypatch):
    run(*two_people("--out", tmp_path / "whole.mp4"))

    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    with monkeypatch.context() as broken:
        broken.setattr("byav_core.encoders.video_vae.VideoVae.decode", fail)
        code, _, beside = run(*two_people("--out", tmp_path / "a.mp4"))
    assert code == 2 and "out of memory" in beside and "a.latents.safetensors" in beside
    assert not (tmp_path / "a.mp4").exists()

    code, _, _ = run("decode", tmp_path / "a.latents.safetensors", "--out", tmp_path / "a.mp4", "--device", "cpu")
    assert code == 0
    whole, again = read_video(tmp_path / "whole.mp4"), read_video(tmp_path / "a.mp4")
    assert torch.equal(whole.frames, again.frames)
    assert torch.equal(whole.audio.waveform, again.audio.waveform)


def test_a_stopped_run_ends_quietly(run, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("byav_core.pipeline.sample", stop)
    code, _, beside = run(*two_people("--out", tmp_path / "a.mp4"))
    assert code == 130 and beside.endswith("stopped\n")


def test_a_fault_of_ours_is_not_dressed_up_as_the_users(run, tmp_path, monkeypatch):
    def fault(*_, **__):
        raise RuntimeError("The size of tensor a (3) must match the size of tensor b (4)")

    monkeypatch.setattr("byav_core.pipeline.sample", fault)
    with pytest.raises(RuntimeError, match="size of tensor"):
        run(*two_people("--out", tmp_path / "a.mp4"))


@pytest.mark.parametrize(
    ("others", "sentence"),
    [
        (["--out", "nowhere/a.mp4"], "there is no folder"),
        (["--out", "a.avi"], "a.avi should end in .mp4"),
        (["--out", "a.mp4", "--film", "a.mp4"], "name two files"),
        (["--out", "a.mp4", "--router", "posts"], "no router 'posts'; choose one of intra, pre, post"),
        (["--out", "a.mp4", "--router", "pre"], "give one with --first-frame"),
        (["--out", "a.mp4", "--router", "fixed", "--mask", "anna_mask.png"], "but there are 1 and 2"),
        (["--out", "a.mp4", "--mask", "anna_mask.png"], "--mask is for --router fixed"),
        (["--out", "a.mp4", "--name", "Anna"], "1 --name for 2 files"),
        (["--out", "a.mp4", "--name", "Anna", "--name", "Anna"], "the name Anna is there twice"),
        (["--out", "a.mp4", "--first-frame", "none.png"], "there is no picture none.png"),
        (["--out", "a.mp4", "--first-frame", "anna.wav"], "anna.wav cannot be read as a picture"),
        (["--out", "a.mp4", "--speech", "anna.png"], "anna"),
        (["--out", "a.mp4", "--speech", "none.wav"], "there is no sound file none.wav"),
        (["--out", "a.mp4", "--speech", "carla.wav"], "one to one"),
        (["--out", "a.mp4", "--matrix", "anna: Zoe"], "known are anna, ben"),
        (["--out", "a.mp4", "--width", "50"], "use 48"),
        (["--out", "a.mp4", "--frames", "10"], "use 9"),
        (["--out", "a.mp4", "--steps", "0"], "0 steps cannot be taken"),
        (["--out", "a.mp4", "--guidance", "1", "2", "3"], "got 3"),
        (["--out", "a.mp4", "--audio-interval", "0.9", "0.1"], "not an interval"),
        (["--out", "a.mp4", "--strength", "1"], "1 audio strengths"),
        (["--out", "a.mp4", "--device", "toaster"], "there is no device 'toaster'"),
        (["--out", "a.mp4", "--device", "meta"], "there is no device 'meta' here"),
        (["--out", "a.mp4", "--model", "none.safetensors"], "--face-model is missing"),
        (
            ["--out", "a.mp4", "--model", "none.safetensors", "--face-model", "f", "--speech-model", "s"],
            "there is no none.safetensors",
        ),
        (["--out", "a.mp4", "--width", "0"], "width 0 is not a multiple of 8; use 8"),
        (["--out", "a.mp4", "--frames", "0"], "0 frames do not fit"),
        (["--out", "a.mp4", "--height", "100000000000000000"], "is too large; choose at most 16384"),
        (["--out", "a.mp4", "--frames", "4" + "0" * 30 + "1"], "is too large; choose at most 100000"),
        (["--out", "a.mp4", "--seed", str(2**64)], "the seed 18446744073709551616"),
        (["--out", "a.mp4", "--guidance", "nan"], "a guidance of nan"),
        (["--out", "a.mp4", "--strength", "inf", "1"], "a strength of inf"),
        (["--out", "a.mp4", "--router", "fixed", "--mask", "anna.wav", "--mask", "b.mp4"], "anna.wav cannot be read"),
        (["--out", "a.mp4", "--router", "fixed", "--mask", "b.mp4", "--mask", "b.mp4"], "there is no video b.mp4"),
        (["--out", "a.mp4", "--face-model", "none"], "none"),
        (["--out", "a.mp4", "--speech-model", "none"], "none"),
        (["--out", "a.mp4", "--sam2", "none"], "SAM 2 is told whom to follow by faces"),
    ],
)
def test_what_the_user_can_mend_is_one_sentence_and_exit_code_2(run, others, sentence, examples):
    before = sorted(examples.iterdir())
    code, said, beside = run(*two_people(*others))
    errors = [line for line in beside.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(errors) == 1 and sentence in errors[0]
    assert "Traceback" not in beside and not said
    assert sorted(examples.iterdir()) == before


def test_what_cannot_be_written_is_refused_before_any_work(run, tmp_path, monkeypatch):
    monkeypatch.setattr("byav_core.checkpoints.load.load_models", lambda *_, **__: pytest.fail("models were loaded"))
    for name in ("folder.mp4", "folder.safetensors"):
        (tmp_path / name).mkdir()
    talk = tmp_path / "talk.mp4"
    for outputs, sentence in (
        (["--out", tmp_path / "folder.mp4"], "folder.mp4 is a folder"),
        (["--out", talk, "--film", tmp_path / "folder.mp4"], "folder.mp4 is a folder"),
        (["--out", talk, "--keep", tmp_path / "folder.safetensors"], "folder.safetensors is a folder"),
        (["--out", tmp_path / ("n" * 240 + ".mp4")], "cannot be written (File name too long)"),
    ):
        code, _, beside = run(*two_people(*outputs))
        assert code == 2 and sentence in beside


def test_latents_that_find_no_room_are_said_in_a_sentence(tmp_path):
    kept = KeptLatents(
        torch.zeros(1, 1, 1, 2, 2), None, silence(1.0, 8000), Clip(1, 16, 16, 25.0), ("a",), "tiny", "untrained"
    )
    with pytest.raises(OSError, match="cannot be written to .*nowhere"):
        write_latents(tmp_path / "nowhere" / "a.safetensors", kept)


def test_memory_that_does_not_suffice_is_the_users_to_mend(run, tmp_path, monkeypatch):
    def too_much(*_, **__):
        torch.empty(2**60)

    monkeypatch.setattr("byav_core.pipeline.sample", too_much)
    code, _, beside = run(*two_people("--out", tmp_path / "a.mp4"))
    assert code == 2 and "error: out of memory" in beside and "choose fewer --frames" in beside


def test_a_traceback_can_be_asked_for(run):
    code, _, beside = run("--traceback", *two_people("--out", "a.avi"))
    assert code == 2 and "Traceback" in beside


def test_masks_of_different_size_are_refused_with_both_sizes(tmp_path):
    for name, size in {"anna.png": (200, 240), "ben.png": (220, 260)}.items():
        Image.new("L", size).save(tmp_path / name)
    with pytest.raises(ValueError, match=r"ben.png has 1 frames of 220x260, but .*anna.png has 1 of 200x240"):
        cli.read_masks([tmp_path / "anna.png", tmp_path / "ben.png"])


def test_latents_of_another_kind_are_refused(run, tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    (tmp_path / "y.safetensors").write_bytes(b"cut short")
    for name, sentence in (("x", "holds no latents"), ("y", "holds no latents"), ("z", "there is no file")):
        code, _, beside = run("decode", tmp_path / f"{name}.safetensors", "--out", tmp_path / "a.mp4")
        assert code == 2 and sentence in beside


def test_inspect_and_convert_are_there(run, tmp_path):
    for command in (["inspect", tmp_path / "none"], ["convert", tmp_path / "none", tmp_path / "b.safetensors"]):
        code, _, beside = run(*command)
        assert code == 2 and "error: " in beside


def test_every_router_is_in_the_help(capsys):
    with pytest.raises(SystemExit):
        cli.main(["generate", "--help"])
    said = capsys.readouterr().out
    assert all(name in said for name in ROUTERS)


def test_help_and_mistakes_in_options_need_no_heavy_library():
    root = Path(cli.__file__).parents[1]
    code = "import sys, byav_core.__main__ as m; m.parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
    wrong = subprocess.run([sys.executable, "-m", "byav_core", "generate"], cwd=root, capture_output=True, text=True)
    assert wrong.returncode == 2 and "--face" in wrong.stderr
