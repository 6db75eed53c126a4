"""What a stage starts from, and what it leaves behind: weights on disk, and the clips to learn from."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from math import ceil
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoints import load_models, save_models, save_network
from ..checkpoints.cogvideox import merged
from ..checkpoints.load import untrained_models
from ..clip import Sample
from ..config import PRESETS, ModelConfig
from ..encoders.face_insight_clip import load_face_encoder
from ..encoders.speech_wav2vec import load_speech_encoder
from ..network import Models, Network
from ..synthetic import WorldSpec, draw_scene
from .config import TrainingConfig
from .dataset import Drawn, Examples, Folder, Source
from .example import Encoders
from .mixture import copies


def starting_models(config: TrainingConfig, number: int) -> Models:
    """The first stage starts from what the configuration names, or untrained; every other one from what the stage
    before it left. Raises FileNotFoundError when that is not there yet. What trains is float32, however it is
    stored."""
    if number > config.first_stage:
        before = config.weights(number - 1)
        if not before.is_file():
            raise FileNotFoundError(f"there is no {before}; train stage {number - 1} first")
        return load_models(before, companions=config.companions_folder, dtype=torch.float32)
    if config.start:
        return load_models(config.start, companions=config.companions, dtype=torch.float32)
    model = PRESETS[config.model]()
    if not config.companions or Path(config.companions).is_dir():
        return untrained_models(model, companions=config.companions)
    beside = load_models(config.companions)
    return replace(untrained_models(model), text=beside.text, video=beside.video)


def source_of(config: TrainingConfig, model: ModelConfig) -> Source:
    """The clips to train on."""
    data = config.data
    if data.folder is not None:
        return Folder(Path(data.folder))
    share = data.drawn / len(data.people)
    counts = {n: ceil(share * data.people.count(n)) for n in sorted(set(data.people))}
    return Drawn(_Draw(world(config, model)), counts, data.first_seed)


def world(config: TrainingConfig, model: ModelConfig) -> WorldSpec:
    """The drawn world in the extent and at the rate of the model."""
    return config.data.world(
        width=model.video.sample_width,
        height=model.video.sample_height,
        frames=model.transformer.sample_frames,
        fps=model.fps,
    )


def clips_to_show(config: TrainingConfig, model: ModelConfig, source: Source) -> list[Sample]:
    """For the contact sheets: clips that are not trained on where there are any."""
    if isinstance(source, Drawn) and config.data.folder is None:
        held_out = replace(world(config, model), split="test")
        source = Drawn(_Draw(held_out), source.counts)
    elif isinstance(source, Folder):
        try:
            source = Folder(source.path, "test")
        except ValueError:
            pass  # a folder without a test split shows what it trains on
    several = max(source.counts)
    return [source.sample(several, i % source.counts[several]) for i in range(config.every.clips)]


def encoders_of(config: TrainingConfig, models: Models, source: Source) -> Encoders:
    """The frozen models; those of the tiny model need no files. Drawn references are looked at whole."""
    face = load_face_encoder(config.face_model, models.config.face)
    return Encoders(
        models,
        replace(face, find=None) if isinstance(source, Drawn) else face,
        load_speech_encoder(config.speech_model, models.config.speech),
        copies(source),
    )


def examples_of(config: TrainingConfig, encoders: Encoders, source: Source) -> Examples:
    """Kept below the output folder if they are to be kept."""
    folder = Path(config.output) / "encoded" if config.data.keep else None
    return Examples(source, encoders, folder, _sign(config, encoders, source))


def finished(state: Mapping[str, Tensor], config: ModelConfig, trained: str) -> Network:
    """A plain network from a trained state: adapters become part of the weights beside them."""
    plain = {key.replace(".base_layer.", ".").replace(".default.", "."): tensor for key, tensor in state.items()}
    network = Network.on_meta(replace(config, trained=trained))
    network.load_state_dict(merged(plain), assign=True)
    return network


def write_weights(config: TrainingConfig, number: int, models: Models, network: Network) -> Path:
    """One file; text encoder and video autoencoder are inside unless they have a folder of their own."""
    path = config.weights(number)
    if config.companions_folder is None:
        save_models(replace(models, config=network.config, network=network), path)
    else:
        save_network(network, path)
    return path


class _Draw:
    """Draws a scene with a given number of people. A class, so that it can travel to workers."""

    def __init__(self, spec: WorldSpec):
        self.spec = spec

    def __call__(self, seed: int, characters: int) -> Sample:
        return draw_scene(seed, replace(self.spec, people=(characters,)))


def _sign(config: TrainingConfig, encoders: Encoders, source: Source) -> str:
    """What examples depend on."""
    model = asdict(encoders.models.config)
    parts = {name: model[name] for name in ("text", "video", "face", "speech", "fps")}
    named = (config.start, config.companions, config.face_model, config.speech_model)
    drawn = None if config.data.folder else asdict(world(config, encoders.models.config))
    data = [config.data.folder, dict(source.counts), config.data.first_seed, drawn, encoders.copies]
    return json.dumps({"models": named, "data": data, **parts}, sort_keys=True)
