"""The sample format: what is written is read back exactly, and what does not belong together is said."""

import json
from copy import copy
from dataclasses import replace

import pytest
import torch

from byav_core.clip import (
    Entry,
    Sample,
    Truth,
    as_stored,
    check_sample,
    entry_of,
    load_sample,
    read_manifest,
    save_sample,
    write_manifest,
)
from byav_core.types import Audio

FRAMES, HEIGHT, WIDTH, FPS, RATE, CHARACTERS, STREAMS = 5, 6, 8, 12.5, 16000, 2, 3


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


FACES, LIPS = drawn(2, CHARACTERS, FRAMES, HEIGHT, WIDTH, seed=1)


@pytest.fixture
def sample():
    sound = drawn(STREAMS, round(FRAMES / FPS * RATE)) * 2 - 1
    return Sample(
        name="two-people",
        frames=drawn(FRAMES, 3, HEIGHT, WIDTH),
        fps=FPS,
        masks=drawn(CHARACTERS, FRAMES, HEIGHT, WIDTH),
        references=(drawn(3, 7, 9), drawn(3, 11, 10)),
        streams=tuple(Audio(wave, RATE) for wave in sound),
        audio_to_character=torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]),
        prompt="left blond, right black: Straße",
        truth=Truth(drawn(CHARACTERS, FRAMES), drawn(CHARACTERS, FRAMES).round(), FACES, LIPS, ("anna", "ben")),
    )


def assert_same(one: Sample, other: Sample):
    for name in ("frames", "masks", "audio_to_character"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert (one.name, one.fps, one.prompt) == (other.name, other.fps, other.prompt)
    assert all(torch.equal(a, b) for a, b in zip(one.references, other.references, strict=True))
    for a, b in zip(one.streams, other.streams, strict=True):
        assert torch.equal(a.waveform, b.waveform) and a.sample_rate == b.sample_rate
    assert (one.truth is None) == (other.truth is None)
    if one.truth is not None:
        for name in ("mouths", "speaking", "faces", "lips"):
            assert torch.equal(getattr(one.truth, name), getattr(other.truth, name)), name
        assert one.truth.identities == other.truth.identities


def test_a_sample_comes_back_as_stored(sample, tmp_path):
    assert_same(load_sample(save_sample(sample, tmp_path)), as_stored(sample))


def test_storing_twice_changes_nothing(sample):
    assert_same(as_stored(as_stored(sample)), as_stored(sample))


def test_storing_keeps_values_to_the_precision_of_their_bits(sample):
    stored = as_stored(sample)
    assert (stored.frames - sample.frames).abs().max() <= 0.5 / 255 + 1e-6
    assert (stored.streams[0].waveform - sample.streams[0].waveform).abs().max() <= 0.5 / 32767 + 1e-6


def test_a_filmed_sample_has_no_truth(sample, tmp_path):
    assert load_sample(save_sample(replace(sample, truth=None), tmp_path)).truth is None


def test_a_sample_without_a_voice_is_fine(sample, tmp_path):
    silent = replace(sample, streams=(), audio_to_character=torch.zeros(0, CHARACTERS))
    assert load_sample(save_sample(silent, tmp_path)).streams == ()


def test_the_same_sample_gives_the_same_bytes(sample, tmp_path):
    (tmp_path / "again").mkdir()
    one, other = save_sample(sample, tmp_path), save_sample(sample, tmp_path / "again")
    assert one.read_bytes() == other.read_bytes()


def test_the_clip_is_what_the_frames_are(sample):
    clip = sample.clip
    assert (clip.frames, clip.height, clip.width, clip.fps) == (FRAMES, HEIGHT, WIDTH, FPS)


def forced(sample: Sample, **parts) -> Sample:
    """The sample with other parts, past the check of axes that tests do when one is made."""
    other = copy(sample)
    for name, part in parts.items():
        object.__setattr__(other, name, part)
    return other


@pytest.mark.parametrize(
    "part, wrong, named",
    [
        ("masks", torch.zeros(CHARACTERS, FRAMES - 1, HEIGHT, WIDTH), "masks"),
        ("references", (torch.zeros(3, 7, 9),), "references 1 instead of 2"),
        ("audio_to_character", torch.zeros(CHARACTERS, STREAMS), "audio_to_character"),
        ("fps", 25.0, "samples of the streams"),
    ],
)
def test_parts_that_do_not_belong_together_are_named(sample, tmp_path, part, wrong, named):
    with pytest.raises(ValueError, match=f"two-people .*{named}"):
        check_sample(forced(sample, **{part: wrong}))
    with pytest.raises(ValueError, match=named):
        save_sample(forced(sample, **{part: wrong}), tmp_path)


def test_a_missing_or_foreign_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_sample(tmp_path / "nowhere.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors in here, only words")
    with pytest.raises(ValueError, match="text.safetensors holds no sample"):
        load_sample(tmp_path / "text.safetensors")


def test_a_manifest_comes_back_as_written(sample, tmp_path):
    entries = (entry_of(sample, "train"), entry_of(replace(sample, name="other"), "test"))
    write_manifest(entries, tmp_path / "manifest.jsonl")
    assert read_manifest(tmp_path / "manifest.jsonl") == entries
    expected = ("two-people.safetensors", CHARACTERS, STREAMS, FRAMES, HEIGHT, WIDTH, FPS)
    first: Entry = entries[0]
    assert (first.file, first.characters, first.streams, first.frames, first.height, first.width, first.fps) == expected


def test_a_line_that_describes_no_sample_is_named(sample, tmp_path):
    path = tmp_path / "manifest.jsonl"
    write_manifest([entry_of(sample, "train")], path)
    path.write_text(path.read_text(encoding="utf-8") + '{"name": "half a line"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="manifest.jsonl, line 2"):
        read_manifest(path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_manifest(tmp_path / "nowhere.jsonl")


@pytest.mark.parametrize("characters", ["2", 2.0, None, 0, True])
def test_a_number_of_characters_that_is_none_is_named(characters, sample, tmp_path):
    path = tmp_path / "manifest.jsonl"
    write_manifest([entry_of(sample, "train")], path)
    line = path.read_text(encoding="utf-8")
    path.write_text(line + json.dumps({**json.loads(line), "characters": characters}), encoding="utf-8")
    with pytest.raises(ValueError, match="manifest.jsonl, line 2: two-people has .* should be a whole number"):
        read_manifest(path)
