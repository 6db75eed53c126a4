"""Scenes on disk and the commands that make them."""

import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from byav_core import __main__ as cli
from byav_core.clip import load_sample, read_manifest
from byav_core.synthetic import WorldSpec, draw_scene
from byav_core.synthetic.sheet import contact_sheet
from byav_core.synthetic.to_disk import draw_folder

SMALL = WorldSpec(split="test", width=48, height=32, frames=5)
OPTIONS = ["--split", "test", "--width", "48", "--height", "32", "--frames", "5", "--people", "1", "2", "2", "2"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Made by the command, with two processes."""
    folder = tmp_path_factory.mktemp("world")
    assert (
        cli.main(["synthetic", "draw", str(folder), "--count", "5", "--seed", "7", "--processes", "2", *OPTIONS]) == 0
    )
    return folder


def test_the_manifest_tells_of_every_scene_in_order(drawn):
    entries = read_manifest(drawn / "manifest.jsonl")
    assert [entry.name for entry in entries] == [f"test-{seed:08}" for seed in range(7, 12)]
    for entry in entries:
        sample = load_sample(drawn / entry.file)
        assert (sample.name, sample.prompt, sample.characters) == (entry.name, entry.prompt, entry.characters)
        assert (entry.split, entry.frames, entry.height, entry.width) == ("test", 5, 32, 48)


def test_on_disk_and_on_the_fly_are_the_same(drawn):
    sample, read = draw_scene(9, SMALL), load_sample(drawn / "test-00000009.safetensors")
    assert torch.equal(sample.frames, read.frames) and torch.equal(sample.masks, read.masks)
    assert sample.truth.identities == read.truth.identities and torch.equal(sample.truth.mouths, read.truth.mouths)
    assert all(torch.equal(a.waveform, b.waveform) for a, b in zip(sample.streams, read.streams, strict=True))


def test_the_number_of_processes_makes_no_difference(drawn, tmp_path):
    draw_folder(tmp_path, 2, 8, SMALL, processes=1)
    for name in ("test-00000008", "test-00000009"):
        file = f"{name}.safetensors"
        assert (tmp_path / file).read_bytes() == (drawn / file).read_bytes()


def test_a_manifest_of_before_goes_before_its_scenes_are_drawn_over(tmp_path):
    (tmp_path / "manifest.jsonl").touch()

    def stop(entry):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_folder(tmp_path, 1, 8, SMALL, processes=1, on_drawn=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["test-00000008.safetensors"]


def test_no_scenes_are_none_to_draw(tmp_path):
    with pytest.raises(ValueError, match="0 scenes"):
        draw_folder(tmp_path, 0, 0, SMALL)


def test_the_sheet_command_draws_a_picture(tmp_path, capsys):
    target = tmp_path / "sheet.png"
    assert cli.main(["synthetic", "sheet", str(target), "--count", "3", "--seed", "2", *OPTIONS]) == 0
    with Image.open(target) as picture:
        assert picture.width > 6 * 2 * 48 and picture.height > 3 * 2 * 32
    assert str(target) in capsys.readouterr().out


def test_a_sheet_cut_off_leaves_the_one_of_before(tmp_path, monkeypatch):
    target = tmp_path / "sheet.png"
    target.write_bytes(b"before")

    def cut_off(picture, path, form):
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", cut_off)
    assert cli.main(["synthetic", "sheet", str(target), "--count", "1", *OPTIONS]) == 130
    assert list(tmp_path.iterdir()) == [target] and target.read_bytes() == b"before"


@pytest.mark.parametrize(
    "shown, zoom, said",
    [(0, 2, "shown 0 and zoom 2 shows nothing"), (2, 0, "zoom 0"), (2, 400, "with zoom 400 a frame has 19200x12800")],
)
def test_a_sheet_without_pixels_or_with_too_many_is_refused(shown, zoom, said):
    with pytest.raises(ValueError, match=said):
        contact_sheet([draw_scene(7, SMALL)], shown, zoom)


def test_a_sheet_of_no_scenes_is_refused():
    with pytest.raises(ValueError, match="there are no scenes to show"):
        contact_sheet([])


def test_a_sheet_shows_the_frames_as_they_are():
    sample = draw_scene(7, SMALL)
    sheet = contact_sheet([sample], shown=2, zoom=3)
    colour = tuple((sample.frames[0, :, 4, 5] * 255).byte().tolist())
    assert sheet.getpixel((6 + 3 * 5 + 1, 14 + 3 * 4 + 1)) == colour


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["sheet", "sheet.jpg"], "should end in .png"),
        (["sheet", "sheet.png", "--motions", "flying"], "motions: flying"),
        (["sheet", "folder.png"], "folder.png is a folder; give the file another name"),
        (["sheet", "no/sheet.png"], "for sheet.png; make it first"),
        (["sheet", "sheet.png", "--fps", "nan"], "fps nan cannot be drawn; choose from 1 to 240"),
        (["draw", "world", "--count", "1", "--voices", "nowhere"], "there are no voices in nowhere"),
        (["draw", "file", "--count", "1"], "nothing can be written into file (File exists); choose another folder"),
        (["draw", "file/world", "--count", "1"], "nothing can be written into file/world"),
        (["voices", "file"], "nothing can be written into file"),
    ],
)
def test_what_can_be_mended_is_said_in_a_sentence(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("folder.png").mkdir()
    assert cli.main(["synthetic", *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["sheet", "sheet.png", "--count", "0"],
        ["sheet", "sheet.png", "--shown", "-1"],
        ["sheet", "sheet.png", "--zoom", "1.5"],
        ["draw", "world", "--count", "-3"],
        ["draw", "world", "--count", "1", "--processes", "0"],
    ],
)
def test_what_is_counted_is_counted_from_one(arguments, capsys):
    with pytest.raises(SystemExit):
        cli.main(["synthetic", *arguments])
    option, value = arguments[-2:]
    assert f"argument {option}: {value} is too few or no whole number; choose 1 or more" in capsys.readouterr().err


def test_companions_are_refused_before_the_first_is_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "byav_core.training.companions", None)  # to import it fails
    (tmp_path / "file").touch()
    assert cli.main(["companions", str(tmp_path / "file")]) == 2
    assert cli.main(["companions", str(tmp_path), "--voices", str(tmp_path / "nowhere")]) == 2
    said = capsys.readouterr().err
    assert "nothing can be written into" in said and "there are no voices in" in said
