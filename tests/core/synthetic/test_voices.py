"""Voices: as long as asked, at one level, the same from the same chance, and never of both splits."""

import re
import wave
from itertools import islice
from pathlib import Path

import pytest
import torch

from byav_core.audio_file import read_audio
from byav_core.synthetic import espeak, voices
from byav_core.synthetic.chance import chance, split_of
from byav_core.synthetic.sentences import SENTENCES
from byav_core.synthetic.voices import (
    LOUDNESS,
    OTHER_SOUNDS,
    RATE,
    BuiltInVoices,
    FolderVoices,
    spoken_voices,
    voices_of,
    write_voices,
)

WRITTEN = 90


@pytest.fixture(scope="module")
def folder(real_inputs, tmp_path_factory):
    """The real voices of the first languages."""
    if not real_inputs.can_speak():
        pytest.skip("eSpeak NG is not installed")
    folder = tmp_path_factory.mktemp("voices")
    assert len(list(islice(write_voices(folder), WRITTEN))) == WRITTEN
    return folder


def decibels(sound):
    return float(10 * sound.square().mean().log10())


def test_there_are_enough_voices_in_several_languages_and_in_both_splits():
    keys = [voice.key for voice in spoken_voices()]
    assert len(set(keys)) == len(keys) and len(SENTENCES) >= 8
    assert sum(len(SENTENCES[voice.language]) for voice in spoken_voices()) >= 200
    splits = [split_of(key) for key in keys]
    assert splits.count("train") >= 30 and splits.count("test") >= 8


def test_the_built_in_voices_are_in_both_splits():
    drawn = {s: {BuiltInVoices().draw(chance(i), s) for i in range(60)} for s in ("train", "test")}
    assert len(drawn["train"]) > 15 and len(drawn["test"]) > 3 and not drawn["train"] & drawn["test"]


@pytest.mark.parametrize("seconds", [0.04, 1.36, 3.7])
def test_the_built_in_voices_speak_as_long_as_asked(seconds):
    said = BuiltInVoices().say(chance("a"), "built-in-03", seconds)
    assert len(said) == round(seconds * RATE)
    assert said.isfinite().all() and said.abs().max() <= 1.5


def test_the_same_chance_says_the_same():
    one, again, other = (BuiltInVoices().say(chance(word), "built-in-03", 1.0) for word in "aab")
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_a_built_in_voice_sounds_like_itself():
    """Its pitch is its own: the spectra of two voices differ more than those of one voice twice."""

    def spectrum(key, word):
        power = torch.fft.rfft(BuiltInVoices().say(chance(word), key, 6.0)).abs()
        smooth = torch.nn.functional.avg_pool1d(power[None, : 6 * 4000], 240)[0].log()
        return smooth - smooth.mean()

    first, again, other = spectrum("built-in-01", "a"), spectrum("built-in-01", "b"), spectrum("built-in-02", "c")
    assert (first - again).square().mean() < (first - other).square().mean()


@pytest.mark.parametrize("name", OTHER_SOUNDS)
def test_other_sounds_are_as_long_as_asked_and_at_the_level_of_speech(name):
    sound = OTHER_SOUNDS[name](chance("a"), 1.36)
    assert len(sound) == round(1.36 * RATE)
    assert sound.abs().max() == 0 if name == "silence" else decibels(sound) == pytest.approx(LOUDNESS, abs=0.1)


def test_a_folder_without_voices_is_named_with_what_makes_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="synthetic voices"):
        FolderVoices(tmp_path)


@pytest.mark.parametrize(
    "content, said", [(b"", "it is cut off"), (b"no RIFF at all" * 9, "RIFF"), (None, "2 channels")]
)
def test_a_damaged_recording_is_named(content, said, tmp_path):
    path = tmp_path / "train" / "en+f1-p2-s3_0.wav"
    path.parent.mkdir()
    if content is None:
        _write_stereo(path)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{re.escape(path.name)}.*{said}.*anew"):
        FolderVoices(tmp_path).say(chance("a"), "en+f1-p2-s3", 0.1)


def _write_stereo(path):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(bytes(4 * RATE))


def test_all_voices_are_written_or_none(tmp_path, monkeypatch):
    def spoken(folder, count=3):
        for number in range(count):
            path = Path(folder) / "train" / f"en_{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"sound")
            yield path

    def stopped(files):
        yield next(iter(files))
        raise KeyboardInterrupt

    monkeypatch.setattr(voices, "write_voices", spoken)
    with pytest.raises(KeyboardInterrupt):
        voices.write_all_voices(tmp_path, stopped)
    assert not list(tmp_path.iterdir())
    assert voices.write_all_voices(tmp_path) == voices.write_all_voices(tmp_path) == 3
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")) == [
        f"train/en_{number}.wav" for number in range(3)
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_espeak_without_its_data_is_said_before_it_ends_the_process(monkeypatch, tmp_path):
    monkeypatch.setattr(espeak, "_find", lambda: ("libespeak-ng.so", str(tmp_path).encode()))
    with pytest.raises(FileNotFoundError, match="there are no voices of eSpeak NG in .*anew"):
        espeak.Espeak()


def test_without_a_folder_there_is_babble():
    assert isinstance(voices_of(None), BuiltInVoices)


def test_real_speech_is_written_by_split_at_one_rate_and_level(folder):
    files = list(folder.glob("*/*.wav"))
    assert len(files) == WRITTEN
    for path in files[::13]:
        audio = read_audio(path)
        assert audio.sample_rate == RATE and audio.seconds > 1.5
        assert decibels(audio.waveform) == pytest.approx(LOUDNESS, abs=0.5)
        assert split_of(path.stem.rpartition("_")[0]) == path.parent.name


def test_no_two_recordings_are_alike(folder):
    files = sorted(folder.glob("*/*.wav"))
    assert len({path.read_bytes() for path in files}) == len(files)


@pytest.mark.parametrize("seconds", [1.36, 12.0])
def test_a_real_voice_speaks_as_long_as_asked(folder, seconds):
    voices, random = FolderVoices(folder), chance("a")
    said = voices.say(random, voices.draw(random, "test"), seconds)
    assert len(said) == round(seconds * RATE) and decibels(said) > -40


def test_real_voices_are_drawn_from_one_split(folder):
    voices = FolderVoices(folder)
    for split in ("train", "test"):
        assert {split_of(voices.draw(chance(i), split)) for i in range(40)} == {split}
