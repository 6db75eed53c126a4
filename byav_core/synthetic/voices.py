"""Voices and other sounds: a folder of real speech written once, and a small synthesiser that is always there.

A voice is named by its key (language, variant, pitch and speed), which decides whether it is trained on.
"""

import shutil
import wave
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy.random import RandomState
from torch import Tensor

from ..sound import at_level, resampled
from ..types import Audio
from .chance import Split, chance, of_split, one_of, split_of
from .sentences import SENTENCES

RATE = 16000  # Hz, of all sounds of the world
LOUDNESS = -20.0  # dB below full scale, RMS
VARIANTS = ("", "+f1", "+f2", "+f3", "+f4", "+f5", "+m1", "+m3", "+m5", "+m7")
PER_LANGUAGE = 6  # voices
BUILT_IN = 40  # voices

Samples = Float[Tensor, " samples"]


@runtime_checkable
class Voices(Protocol):
    """Where speech comes from."""

    def draw(self, random: RandomState, split: Split) -> str:
        """The key of a voice of the split."""

    def say(self, random: RandomState, key: str, seconds: float) -> Samples:
        """That voice for so long, from somewhere in its speech, at RATE."""


@dataclass(frozen=True)
class SpokenVoice:
    """A voice of eSpeak NG. pitch: 0..99; speed: words per minute."""

    language: str
    variant: str
    pitch: int
    speed: int

    @property
    def key(self) -> str:
        return f"{self.language}{self.variant}-p{self.pitch}-s{self.speed}"


def spoken_voices() -> tuple[SpokenVoice, ...]:
    """The voices of the folder: several for each language, high and low, slow and fast."""
    return tuple(_spoken_voice(language, number) for language in SENTENCES for number in range(PER_LANGUAGE))


def write_voices(folder: str | Path) -> Iterator[Path]:
    """Writes every sentence of every voice as `<split>/<voice>_<number>.wav`, one by one, at RATE and LOUDNESS.

    The first run in a process gives the same bytes as any other first run; eSpeak NG's own chance goes on in a second.
    """
    from .espeak import Espeak

    espeak = Espeak()
    for voice in spoken_voices():
        target = Path(folder) / split_of(voice.key)
        target.mkdir(parents=True, exist_ok=True)
        for number, sentence in enumerate(SENTENCES[voice.language]):
            said = espeak.speak(sentence, voice.language + voice.variant, voice.pitch, voice.speed)
            path = target / f"{voice.key}_{number}.wav"
            _write(path, at_level(resampled(said, RATE), LOUDNESS).waveform)
            yield path


def write_all_voices(folder: str | Path, watched: Callable[[Iterator[Path]], Iterable[Path]] = iter) -> int:
    """The same, all of them or none: a folder with some of them would look finished. Gives how many.

    watched: given the files while they are written, such as a bar.
    """
    folder = Path(folder)
    unfinished = folder / ".unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was cut off
    try:
        paths = list(watched(write_voices(unfinished)))
        for path in paths:
            target = folder / path.relative_to(unfinished)
            target.parent.mkdir(exist_ok=True)
            path.replace(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return len(paths)


class FolderVoices:
    """Speech from a folder that `write_voices` made. Raises FileNotFoundError when there is none in it."""

    def __init__(self, folder: str | Path):
        self.files: dict[str, list[Path]] = {}
        for path in sorted(Path(folder).glob("t*/*_*.wav")):
            self.files.setdefault(path.stem.rpartition("_")[0], []).append(path)
        if not self.files:
            raise FileNotFoundError(
                f"there are no voices in {folder}; make them with `python -m byav_core synthetic voices {folder}`"
            )

    def draw(self, random: RandomState, split: Split) -> str:
        voices = tuple(key for key in self.files if split_of(key) == split)
        if not voices:
            raise ValueError(f"none of the {len(self.files)} voices is one to {split} with; write the folder anew")
        return one_of(random, voices)

    def say(self, random: RandomState, key: str, seconds: float) -> Samples:
        """One sentence after another until it is long enough; a part of one that is longer."""
        wanted, said, order = round(seconds * RATE), torch.zeros(0), random.permutation(len(self.files[key]))
        for turn in range(10_000):
            said = torch.cat([said, _read(str(self.files[key][order[turn % len(order)]]))])
            if len(said) >= wanted:
                return _excerpt(random, said, wanted)
        raise ValueError(f"the voice {key} says next to nothing; write the folder of voices anew")


class BuiltInVoices:
    """Babble by a source and a filter: pulses of a larynx through the formants of vowels, with hisses between."""

    def draw(self, random: RandomState, split: Split) -> str:
        return of_split(split, lambda: f"built-in-{random.randint(BUILT_IN):02}", str)

    def say(self, random: RandomState, key: str, seconds: float) -> Samples:
        body = chance("voice", key)
        pitch, size, pace = body.uniform(85, 230), body.uniform(0.85, 1.2), body.uniform(0.14, 0.24)
        wanted, parts = round(seconds * RATE), []
        while sum(map(len, parts)) < wanted:
            parts.append(_syllable(random, pitch * random.uniform(0.85, 1.2), size, pace * random.uniform(0.7, 1.4)))
        return at_level(Audio(torch.from_numpy(np.concatenate(parts)).float(), RATE), LOUDNESS).waveform[:wanted]


@cache
def voices_of(folder: str | None) -> Voices:
    """Speech of a folder, or the built-in babble."""
    return BuiltInVoices() if folder is None else FolderVoices(folder)


def noise(random: RandomState, seconds: float) -> Samples:
    """Hiss that swells and fades, of any colour between white and brown."""
    samples = round(seconds * RATE)
    spectrum = np.fft.rfft(random.standard_normal(samples))
    spectrum /= np.maximum(np.arange(len(spectrum)), 1) ** random.uniform(0, 1)
    swell = 1 + 0.7 * np.sin(2 * np.pi * (random.uniform(0.3, 1.5) * np.arange(samples) / RATE + random.uniform()))
    return _level(np.fft.irfft(spectrum, samples) * swell)


def music(random: RandomState, seconds: float) -> Samples:
    """Plucked chords on a scale, one after another."""
    samples, beat = round(seconds * RATE), random.uniform(0.18, 0.4)
    total = np.zeros(samples)
    for start in np.arange(0, seconds, beat):
        time = np.arange(samples - int(start * RATE)) / RATE
        for step in random.choice([0, 2, 4, 7, 9, 12, 16], size=3, replace=False):
            tone = 220 * 2 ** (step / 12) * 2 * np.pi * time
            total[int(start * RATE) :] += (np.sin(tone) + 0.4 * np.sin(2 * tone)) * np.exp(-4 * time)
    return _level(total)


def silence(random: RandomState, seconds: float) -> Samples:
    return torch.zeros(round(seconds * RATE))


OTHER_SOUNDS = {"noise": noise, "music": music, "silence": silence}


def _spoken_voice(language: str, number: int) -> SpokenVoice:
    random = chance("espeak", language, number)
    return SpokenVoice(
        language, VARIANTS[random.randint(len(VARIANTS))], random.randint(15, 85), random.randint(125, 195)
    )


def _syllable(random: RandomState, pitch: float, size: float, seconds: float) -> np.ndarray:
    """A hiss and a vowel, or now and then a pause."""
    from scipy.signal import lfilter

    count = round(seconds * RATE)
    if random.uniform() < 0.15:
        return np.zeros(count)
    formants = np.array(one_of(random, ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480))))
    glide = pitch * (1 + 0.1 * np.linspace(1, -1, count) * random.uniform())
    sound = np.diff(np.floor(np.cumsum(glide) / RATE), prepend=0) + 0.02 * random.standard_normal(count)
    for formant in formants * size:
        pole = 0.97 * np.exp(2j * np.pi * formant / RATE)
        sound = lfilter([1 - abs(pole)], [1, -2 * pole.real, abs(pole) ** 2], sound)
    hiss = 0.02 * random.standard_normal(count) * np.exp(-np.arange(count) / (0.02 * RATE))
    vowel = sound / (np.abs(sound).max() + 1e-9) * np.hanning(count) ** 0.6 * random.uniform(0.4, 1.0)
    return vowel + hiss


def _level(sound: np.ndarray) -> Samples:
    return at_level(Audio(torch.from_numpy(sound).float(), RATE), LOUDNESS).waveform


def _excerpt(random: RandomState, sound: Samples, samples: int) -> Float[Tensor, " wanted"]:
    start = random.randint(len(sound) - samples + 1)
    return sound[start : start + samples]


def _write(path: Path, sound: Samples) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((sound.clamp(-1, 1) * 32767).round().short().numpy().astype("<i2").tobytes())


@cache
def _read(path: str) -> Samples:
    """Kept in memory: all of the voices are some 40 MB."""
    try:
        with wave.open(path) as file:
            form = file.getnchannels(), 8 * file.getsampwidth(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(
            f"{path} is no recording ({str(error) or 'it is cut off'}); write the folder of voices anew"
        ) from error
    if form != (1, 16, RATE):
        said = "{} channels of {} bits at {} Hz".format(*form)
        raise ValueError(f"{path} has {said}; voices have 1 of 16 bits at {RATE} Hz, write their folder anew")
    return torch.from_numpy(np.frombuffer(data, "<i2").astype(np.float32) / 32767)
