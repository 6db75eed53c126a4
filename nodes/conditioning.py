"""All conditions of a generation, computed once per model, cast and voices and shared by Router and Sampler."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from . import runtime

if TYPE_CHECKING:
    from ..byav_core.config import ModelConfig
    from ..byav_core.matrix import AudioCharacterMatrix
    from ..byav_core.pipeline import Conditions, PreparedScene, Prompt
    from ..byav_core.types import Character, SpeechStream
    from .sockets import LoadedModel


def conditions_for(
    model: LoadedModel,
    prompt: Prompt,
    cast: tuple[Character, ...],
    streams: tuple[SpeechStream, ...],
    matrix: AudioCharacterMatrix,
    scene: PreparedScene,
) -> Conditions:
    """Faces and speech are projected once for a cast, its voices and a clip, and kept on the model link: another
    router, seed, matrix or prompt does not project them again."""
    check_encoders(model.models.config, cast, streams)
    from ..byav_core import pipeline

    compute = runtime.compute_of(model.patchers["conditioners"])

    def project() -> Conditions:
        runtime.bring([model.patchers["conditioners"]])
        return pipeline.condition(model.models, prompt, cast, streams, matrix, scene.clip, compute)

    projected = model.memo.get("conditions", (*cast, *streams), scene.clip, project)
    spoken = pipeline.matrix_values(matrix, streams, cast)[None]
    return replace(
        projected,
        prompt=compute.place(prompt.text),
        negative=compute.place(prompt.negative),
        audio_to_character=compute.place(spoken),
    )


def matrix_or_one_to_one(
    matrix: AudioCharacterMatrix | None, cast: tuple[Character, ...], streams: tuple[SpeechStream, ...]
) -> AudioCharacterMatrix:
    from ..byav_core.matrix import one_to_one

    if matrix is not None:
        return matrix
    return one_to_one(tuple(stream.name for stream in streams), tuple(person.name for person in cast))


def matrix_key(matrix: AudioCharacterMatrix) -> tuple:
    return matrix.streams, matrix.characters, tuple(matrix.values.flatten().tolist())


def check_encoders(config: ModelConfig, cast: tuple[Character, ...], streams: tuple[SpeechStream, ...]) -> None:
    """Raises ValueError when people or voices were encoded for another model."""
    face = (config.face_extractor.identity_dim, config.face_extractor.feature_dim, config.face_extractor.scales)
    for person in cast:
        features = person.features
        got = (features.identity.shape[-1], features.hidden[0].shape[-1], len(features.hidden))
        if got != face:
            raise ValueError(
                f"{person.name}'s face was encoded for another model than {config.name}; in Load Face Encoder choose "
                "the encoder that belongs to the model"
            )
    speech = (config.speech_projector.layers, config.speech_projector.channels)
    for stream in streams:
        if tuple(stream.hidden.shape[1:]) != speech:
            raise ValueError(
                f"voice {stream.name} was encoded for another model than {config.name}; in Load Audio Encoder "
                "choose the encoder that belongs to the model"
            )
