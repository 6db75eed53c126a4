"""A sample as the frozen encoders see it, made by the pipeline's own functions, in memory and on disk."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..checkpoints.tensors import write_safetensors
from ..clip import Sample
from ..encoders.video_vae import Posterior, VideoVae
from ..matrix import AudioCharacterMatrix
from ..network import Models
from ..pipeline import (
    PreparedScene,
    Prompt,
    add_character,
    add_speech,
    encode_prompt,
    hidden_windows,
    matrix_values,
    prepare_scene,
)
from ..protocols import FaceEncoder, SpeechEncoder
from ..routing import RASTERIZERS, soft
from ..sampling.latents import noise_faces, reference_canvas
from ..types import Character, SpeechStream, TokenGrid

AS_THEY_ARE = ("masks", "focus", "identity", "speech", "audio_to_character", "text")  # tensors of an example


@dataclass(frozen=True)
class Example:
    """A sample as the frozen encoders see it: all that a step of training needs.

    video, first_frame: posteriors of the latents, each 1 t c H W; the faces of the first frame are under noise.
    canvas: of the reference faces, for as many characters as its key says: those of the sample and, when there is one
    character only, the numbers of copies that it may be given. masks: of tokens. focus: how much each token
    counts where the loss looks at faces: the share of it that is one, and the more the lips; somebody anywhere, where
    faces are not known. speech: windows of hidden states.
    """

    name: str
    video: Posterior
    first_frame: Posterior
    canvas: dict[int, Posterior]
    masks: Float[Tensor, "n t h w"]
    focus: Float[Tensor, "t h w"]
    identity: Float[Tensor, "n d"]
    hidden: tuple[Float[Tensor, "n p d2"], ...]
    speech: Float[Tensor, "m f window layers d3"]
    audio_to_character: Float[Tensor, "m n"]
    text: Float[Tensor, "l d4"]


@dataclass(frozen=True)
class Staged:
    """A sample in the terms of the pipeline, made by its functions: what `generate` would make of the same inputs."""

    cast: tuple[Character, ...]
    streams: tuple[SpeechStream, ...]
    matrix: AudioCharacterMatrix
    prompt: Prompt
    scene: PreparedScene


@dataclass(frozen=True)
class Encoders:
    """The frozen models that look at a sample. copies: how many characters a clip with a single one may stand for.
    lips: what a part of the lips counts beside what it counts as part of a face."""

    models: Models
    face: FaceEncoder
    speech: SpeechEncoder
    copies: tuple[int, ...] = ()
    lips: float = 3.0

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Of the weights of each, which never change."""
        modules = {
            "text": (self.models.text.module,),
            "video": (self.models.video.module,),
            "face": self.face.modules,
            "speech": self.speech.modules,
        }
        return {name: _hash_of(*parts) for name, parts in modules.items()}

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        return (self.models.text.module, self.models.video.module, *self.face.modules, *self.speech.modules)

    @property
    def video(self) -> VideoVae:
        return self.models.video

    def stage(self, sample: Sample) -> Staged:
        """Raises ValueError when the sample's extent or rate is none of the model's."""
        if sample.fps != self.models.config.fps:
            raise ValueError(
                f"sample {sample.name} has {sample.fps:g} frames a second but the model makes "
                f"{self.models.config.fps:g}; make the samples anew, or set the model's fps"
            )
        cast: tuple[Character, ...] = ()
        for number, picture in enumerate(sample.references, 1):
            cast = add_character(cast, f"character {number}", picture, self.face)
        streams: tuple[SpeechStream, ...] = ()
        for number, audio in enumerate(sample.streams, 1):
            streams = add_speech(streams, f"voice {number}", audio, self.speech, sample.fps)
        names = tuple(stream.name for stream in streams), tuple(character.name for character in cast)
        clip = sample.clip
        return Staged(
            cast,
            streams,
            AudioCharacterMatrix(sample.audio_to_character, *names),
            encode_prompt(self.models.text, sample.prompt),
            prepare_scene(self.models.config, clip.width, clip.height, clip.frames, sample.frames[0]),
        )

    @torch.no_grad()
    def example(self, sample: Sample) -> Example:
        staged, config = self.stage(sample), self.models.config
        faces = [character.features for character in staged.cast]
        return Example(
            name=sample.name,
            video=self.video.posterior(sample.frames[None]),
            first_frame=self._picture(hidden_faces(sample)),
            canvas={n: self._canvas(staged, n) for n in self._canvases(sample.characters)},
            masks=RASTERIZERS[config.router.rasterize](sample.masks, staged.scene.grid),
            focus=_focus(sample, staged.scene.grid, self.lips),
            identity=torch.stack([face.identity for face in faces]),
            hidden=tuple(torch.stack(maps) for maps in zip(*(face.hidden for face in faces), strict=True)),
            speech=self._speech(staged),
            audio_to_character=matrix_values(staged.matrix, staged.streams, staged.cast),
            text=staged.prompt.text[0],
        )

    def _canvases(self, characters: int) -> set[int]:
        return {characters, *self.copies} if characters == 1 else {characters}

    def _canvas(self, staged: Staged, characters: int) -> Posterior:
        crops = tuple(character.features.crop for character in staged.cast)
        crops = crops * (characters // len(crops))
        return self._picture(reference_canvas(crops, staged.scene.clip.height, staged.scene.clip.width))

    def _picture(self, picture: Float[Tensor, "3 H W"]) -> Posterior:
        return self.video.posterior(picture[None, None])

    def _speech(self, staged: Staged) -> Float[Tensor, "m f window layers d"]:
        config, frames = self.models.config.speech_projector, staged.scene.clip.frames
        heard = [hidden_windows(stream, frames, config) for stream in staged.streams]
        return torch.stack(heard or [torch.zeros(frames, config.window, config.layers, config.channels)])


def _focus(sample: Sample, grid: TokenGrid, lips: float) -> Float[Tensor, "t h w"]:
    if sample.truth is None:
        return soft(sample.masks, grid).sum(dim=0)
    return (soft(sample.truth.faces, grid) + lips * soft(sample.truth.lips, grid)).sum(dim=0)


def hidden_faces(sample: Sample) -> Float[Tensor, "3 H W"]:
    """The first frame with noise where the characters are, the same whenever this sample is looked at."""
    generator = torch.Generator().manual_seed(seed_of(sample.name))
    return noise_faces(sample.frames[0], sample.masks[:, 0].amax(dim=0), generator)


def seed_of(*parts: object) -> int:
    """A seed that follows from names and numbers, the same on every machine."""
    return int.from_bytes(hashlib.sha256(json.dumps(parts).encode()).digest()[:7], "big")


def to_device(value: Any, device: torch.device) -> Any:
    """Everything made of tensors, dataclasses, tuples and dictionaries elsewhere; the rest as it is."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=device.type != "cpu")  # what arrives on the CPU is read at once
    if isinstance(value, tuple):
        return tuple(to_device(one, device) for one in value)
    if isinstance(value, dict):
        return {key: to_device(one, device) for key, one in value.items()}
    if is_dataclass(value):
        return replace(value, **{name: to_device(one, device) for name, one in vars(value).items()})
    return value


def _hash_of(*modules: nn.Module) -> str:
    found = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def write_example(example: Example, path: Path) -> None:
    """Whole or not at all: several workers may come to the same example."""
    tensors = dict(_named(example))
    said = {"name": example.name, "scale": example.video.scale}
    write_safetensors({name: x.contiguous().cpu() for name, x in tensors.items()}, path, {"example": json.dumps(said)})


def read_example(path: Path) -> Example:
    from safetensors import safe_open

    with safe_open(str(path), "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 it is no dictionary
        said = json.loads(file.metadata()["example"])

    def posterior(name: str) -> Posterior:
        return Posterior(tensors[f"{name}.mean"], tensors[f"{name}.deviation"], said["scale"])

    canvases = sorted({name.split(".")[1] for name in tensors if name.startswith("canvas.")})
    return Example(
        name=said["name"],
        video=posterior("video"),
        first_frame=posterior("first_frame"),
        canvas={int(n): posterior(f"canvas.{n}") for n in canvases},
        hidden=tuple(tensors[name] for name in sorted(tensors) if name.startswith("hidden.")),
        **{name: tensors[name] for name in AS_THEY_ARE},
    )


def _named(example: Example) -> Iterator[tuple[str, Tensor]]:
    posteriors = {"video": example.video, "first_frame": example.first_frame}
    posteriors |= {f"canvas.{n:02}": canvas for n, canvas in example.canvas.items()}
    for name, posterior in posteriors.items():
        yield f"{name}.mean", posterior.mean
        yield f"{name}.deviation", posterior.deviation
    yield from ((f"hidden.{depth:02}", features) for depth, features in enumerate(example.hidden))
    for name in AS_THEY_ARE:
        yield name, getattr(example, name)
