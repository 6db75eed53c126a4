"""The one sample format of the project: what happens in a clip, who says it, and, if it was drawn, the truth about it.

Pictures are kept in 8 bits and sound in 16; `as_stored` makes a sample in memory the same as one read from a file.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from .types import Audio, Clip

LOUDEST = 32767  # of 16 bits
SEEN = ("faces", "lips")  # of a truth


@dataclass(frozen=True)
class Truth:
    """What is known of a drawn world only.

    mouths: how far each character's mouth is open, 0..1. speaking: 1 while a voice that drives it is heard.
    faces, lips: the visible pixels of each character's face, and of the part of it that speech moves. identities: a
    key for each character, the same wherever that identity is drawn.
    """

    mouths: Float[Tensor, "n f"]
    speaking: Float[Tensor, "n f"]
    faces: Float[Tensor, "n f H W"]
    lips: Float[Tensor, "n f H W"]
    identities: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """A clip to train on or to measure with: n characters, m voices.

    masks: the visible pixels of each character. references: a picture of each, unlike the scene; sizes may differ.
    streams: exactly as long as the clip, starting with it. truth: None for filmed clips.
    """

    name: str
    frames: Float[Tensor, "f 3 H W"]
    fps: float
    masks: Float[Tensor, "n f H W"]
    references: tuple[Float[Tensor, "3 _ _"], ...]
    streams: tuple[Audio, ...]
    audio_to_character: Float[Tensor, "m n"]
    prompt: str
    truth: Truth | None = None

    @property
    def clip(self) -> Clip:
        frames, _, height, width = self.frames.shape
        return Clip(frames, height, width, self.fps)

    @property
    def characters(self) -> int:
        return len(self.masks)


@dataclass(frozen=True)
class Entry:
    """One line of a manifest: what a sample file holds, to choose by without opening it.

    file: relative to the manifest's folder. split: train or test.
    """

    name: str
    file: str
    characters: int
    streams: int
    frames: int
    height: int
    width: int
    fps: float
    prompt: str
    split: str


def check_sample(sample: Sample) -> None:
    """Raises ValueError naming the sample when its parts do not belong together."""
    n, m, frames = sample.characters, len(sample.streams), len(sample.frames)
    wanted = {
        "masks": (sample.masks.shape, (n, frames, *sample.frames.shape[2:])),
        "references": (len(sample.references), n),
        "audio_to_character": (tuple(sample.audio_to_character.shape), (m, n)),
        "samples of the streams": (
            {len(audio.waveform) for audio in sample.streams} or set(),
            {round(frames / sample.fps * audio.sample_rate) for audio in sample.streams},
        ),
    }
    if wrong := [f"{part} {got} instead of {due}" for part, (got, due) in wanted.items() if got != due]:
        raise ValueError(f"sample {sample.name} does not fit together: {'; '.join(wrong)}; mend what made it")


def as_stored(sample: Sample) -> Sample:
    """The sample with the precision of its file: writing and reading it changes nothing any more."""
    return replace(
        sample,
        frames=_from_8_bit(_to_8_bit(sample.frames)),
        masks=_from_8_bit(_to_8_bit(sample.masks)),
        truth=sample.truth and _truth_as_stored(sample.truth),
        references=tuple(_from_8_bit(_to_8_bit(picture)) for picture in sample.references),
        streams=tuple(Audio(_from_16_bit(_to_16_bit(a.waveform)), a.sample_rate) for a in sample.streams),
    )


def _truth_as_stored(truth: Truth) -> Truth:
    return replace(truth, **{name: _from_8_bit(_to_8_bit(getattr(truth, name))) for name in SEEN})


def save_sample(sample: Sample, folder: str | Path) -> Path:
    """Writes `<name>.safetensors` into the folder. The same sample gives the same bytes."""
    from safetensors.torch import save_file

    check_sample(sample)
    path = Path(folder) / f"{sample.name}.safetensors"
    tensors = {"frames": _to_8_bit(sample.frames), "masks": _to_8_bit(sample.masks)}
    tensors |= {f"reference_{i:03}": _to_8_bit(picture) for i, picture in enumerate(sample.references)}
    tensors |= {f"stream_{i:03}": _to_16_bit(audio.waveform) for i, audio in enumerate(sample.streams)}
    tensors["audio_to_character"] = sample.audio_to_character.float()
    said = {
        "name": sample.name,
        "fps": sample.fps,
        "sample_rates": [audio.sample_rate for audio in sample.streams],
        "prompt": sample.prompt,
        "identities": sample.truth and sample.truth.identities,
    }
    if sample.truth is not None:
        tensors |= {"mouths": sample.truth.mouths, "speaking": sample.truth.speaking}
        tensors |= {name: _to_8_bit(getattr(sample.truth, name)) for name in SEEN}
    save_file({name: one.contiguous().cpu() for name, one in tensors.items()}, path, {"byav_sample": json.dumps(said)})
    return path


def load_sample(path: str | Path) -> Sample:
    """Raises FileNotFoundError, or ValueError when the file holds no sample."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no sample {path}")
    try:
        with safe_open(str(path), "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 it is no dictionary
            said = json.loads((file.metadata() or {})["byav_sample"])
        sample = _sample(tensors, said)
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} holds no sample ({error}); give a file that save_sample wrote") from error
    check_sample(sample)
    return sample


def entry_of(sample: Sample, split: str) -> Entry:
    """The manifest's line for a sample that lies beside the manifest."""
    frames, _, height, width = sample.frames.shape
    file, n, m = f"{sample.name}.safetensors", sample.characters, len(sample.streams)
    return Entry(sample.name, file, n, m, frames, height, width, sample.fps, sample.prompt, split)


def write_manifest(entries: Iterable[Entry], path: str | Path) -> None:
    """JSON, one line per sample."""
    lines = (json.dumps(asdict(entry), ensure_ascii=False) for entry in entries)
    Path(path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_manifest(path: str | Path) -> tuple[Entry, ...]:
    """Raises FileNotFoundError, or ValueError naming the line that is none of a manifest."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no manifest {path}")
    return tuple(
        _entry(line, f"{path}, line {number}")
        for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1)
    )


def _entry(line: str, place: str) -> Entry:
    try:
        said = json.loads(line)
        return Entry(**{**said, "characters": _characters(said, place)})
    except (TypeError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{place} describes no sample ({error}); write the manifest anew") from error


def _characters(said: dict, place: str) -> int:
    characters = said["characters"]
    if type(characters) is not int or characters < 1:
        raise ValueError(
            f"{place}: {said.get('name')} has {characters!r} characters; it should be a whole number of at least 1; "
            "write the manifest anew"
        )
    return characters


def _sample(tensors: dict[str, Tensor], said: dict) -> Sample:
    streams = [_from_16_bit(tensors[name]) for name in sorted(tensors) if name.startswith("stream_")]
    truth = None
    if said["identities"] is not None:
        heard, seen = (tensors["mouths"], tensors["speaking"]), (_from_8_bit(tensors[name]) for name in SEEN)
        truth = Truth(*heard, *seen, tuple(said["identities"]))
    return Sample(
        name=said["name"],
        frames=_from_8_bit(tensors["frames"]),
        fps=said["fps"],
        masks=_from_8_bit(tensors["masks"]),
        references=tuple(_from_8_bit(tensors[name]) for name in sorted(tensors) if name.startswith("reference_")),
        streams=tuple(Audio(wave, rate) for wave, rate in zip(streams, said["sample_rates"], strict=True)),
        audio_to_character=tensors["audio_to_character"],
        prompt=said["prompt"],
        truth=truth,
    )


def _to_8_bit(picture: Tensor) -> Tensor:
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8)


def _from_8_bit(picture: Tensor) -> Tensor:
    return picture.float() / 255


def _to_16_bit(waveform: Tensor) -> Tensor:
    return (waveform.clamp(-1, 1) * LOUDEST).round().to(torch.int16)


def _from_16_bit(waveform: Tensor) -> Tensor:
    return waveform.float() / LOUDEST
