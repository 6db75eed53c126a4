"""Clips small enough to train on in seconds: coloured squares that move, and tones that pulse."""

from dataclasses import replace

import pytest
import torch

from byav_core.checkpoints.load import untrained_models
from byav_core.clip import Sample
from byav_core.config import tiny
from byav_core.encoders.face_insight_clip import load_face_encoder
from byav_core.encoders.speech_wav2vec import load_speech_encoder
from byav_core.training.dataset import Drawn, Examples
from byav_core.training.example import Encoders
from byav_core.training.mixture import Mixture, Passes, copies
from byav_core.types import Audio

FPS, FRAMES, HEIGHT, WIDTH, SIDE, RATE = 12.5, 9, 32, 48, 8, 16000


def square_people(seed: int, characters: int) -> Sample:
    """Each character a square of its own colour that fills a token and jumps from one row of them to the other; at odd
    seeds there is one voice fewer than people."""
    generator = torch.Generator().manual_seed(seed)
    colours = torch.rand(characters, 3, generator=generator)
    frames, masks = torch.full((FRAMES, 3, HEIGHT, WIDTH), 0.3), torch.zeros(characters, FRAMES, HEIGHT, WIDTH)
    for i in range(characters):
        for f in range(FRAMES):
            top, left = SIDE * ((f > 4) ^ (i % 2)), SIDE * i
            frames[f, :, top : top + SIDE, left : left + SIDE] = colours[i, :, None, None]
            masks[i, f, top : top + SIDE, left : left + SIDE] = 1
    streams = max(1, characters - seed % 2)
    time = torch.arange(round(FRAMES / FPS * RATE)) / RATE
    waves = [torch.sin(time * 700 * (i + 1)) * torch.sin(time * 5 * (i + 1)) ** 2 * 0.5 for i in range(streams)]
    return Sample(
        name=f"squares-{characters}-{seed}",
        frames=frames,
        fps=FPS,
        masks=masks,
        references=tuple(colour.view(3, 1, 1).expand(3, 40, 40).clone() for colour in colours),
        streams=tuple(Audio(wave, RATE) for wave in waves),
        audio_to_character=torch.eye(streams, characters),
        prompt=f"{characters} squares",
    )


@pytest.fixture(autouse=True)
def fresh_accelerator():
    """accelerate keeps the first precision that a process asks for."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    yield
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


@pytest.fixture(scope="session")
def small_config():
    base = tiny()
    return replace(base, name="small", fps=FPS, transformer=replace(base.transformer, num_layers=3))


@pytest.fixture(scope="session")
def squares():
    return Drawn(square_people, {1: 2, 2: 2, 3: 1})


@pytest.fixture(scope="session")
def encoders(small_config, squares):
    models = untrained_models(small_config)
    face, speech = load_face_encoder("tiny", small_config.face), load_speech_encoder("tiny", small_config.speech)
    return Encoders(models, face, speech, copies(squares))


@pytest.fixture
def network(small_config):
    """Untrained, and the caller's own."""
    return untrained_models(small_config).network.train()


@pytest.fixture(scope="session")
def examples(encoders, squares, tmp_path_factory):
    """Each clip encoded once for all tests."""
    return Examples(squares, encoders, tmp_path_factory.mktemp("encoded"))


@pytest.fixture(scope="session")
def passes(encoders, squares, examples):
    """Batches of two rows, half of them with a single character."""
    return Passes(examples, Mixture(squares, single=0.5, rows=2, seed=0), encoders.models.text(""))


@pytest.fixture(scope="session")
def batch(passes):
    """Two characters, two clips."""
    return passes[next(k for k in range(99) if all(pick.clip == 2 for pick in passes.mixture.picks(k)))]
