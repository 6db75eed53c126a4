"""True videos of the drawn world, with the built-in voices, and small untrained models to wire films with."""

from dataclasses import replace

import pytest

from byav_core.benchmark.film import Film, Studio
from byav_core.benchmark.scenes import held_out
from byav_core.benchmark.scores import added, score
from byav_core.checkpoints.load import untrained_models
from byav_core.config import tiny
from byav_core.encoders.face_insight_clip import load_face_encoder
from byav_core.encoders.speech_wav2vec import load_speech_encoder
from byav_core.pipeline import Separate
from byav_core.types import TokenGrid

GRID = TokenGrid(7, 8, 12)


@pytest.fixture(scope="session")
def world():
    base = tiny()
    return replace(base, fps=12.5, transformer=replace(base.transformer, sample_frames=25))


@pytest.fixture(scope="session")
def scenes(world):
    """`scenes(kind, count)`: the first held-out scenes of a kind."""
    drawn = {}

    def of(kind, count):
        for number in range(count):
            if (kind, number) not in drawn:
                drawn[kind, number] = held_out(kind, number, world)
        return [drawn[kind, number] for number in range(count)]

    return of


@pytest.fixture(scope="session")
def true_film():
    """The video as it was drawn, as if a condition had made it; told otherwise where wanted."""

    def film(scene, **otherwise):
        sample = scene.sample
        return replace(Film(sample.audio_to_character, sample.masks, sample.frames), **otherwise)

    return film


@pytest.fixture(scope="session")
def read():
    """`read(films, scenes)`: every metric over all of them, as a number."""

    def mean(films, scenes):
        total = added(score(film, scene, GRID) for film, scene in zip(films, scenes, strict=True))
        return {name: one.amount / one.of for name, one in total.items() if one.of}

    return mean


@pytest.fixture(scope="session")
def studio(world):
    """Few layers and few frames: films in a second."""
    config = replace(world, transformer=replace(world.transformer, num_layers=3, sample_frames=9))
    return Studio(
        untrained_models(config),
        load_face_encoder("tiny", config.face),
        load_speech_encoder("tiny", config.speech),
        steps=2,
        guidance=Separate(1.0, 2.0),
    )
