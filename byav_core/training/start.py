"""What a stage starts from, and what it leaves behind: weights on disk, and the clips to learn from."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoints import load_models, save_models, save_network
from ..checkpoints.cogvideox import merged
from ..checkpoints.load import untrained_models
from ..checkpoints.single_file import CONFIG
from ..checkpoints.tensors import read_metadata
from ..clip import Sample
from ..config import PRESETS, ModelConfig
from ..encoders.face_insight_clip import load_face_encoder
from ..encoders.speech_wav2vec import load_speech_encoder
from ..network import Models, Network
from ..synthetic import WorldSpec, draw_scene
from ..synthetic.to_disk import MANIFEST
from .config import TrainingConfig
from .dataset import Drawn, Examples, Folder, Source
from .example import Encoders
from .mixture import copies


def starting_models(config: TrainingConfig, number: int) -> Models:
    """The first stage starts from what the configuration names, or untrained; every other one from what the stage
    before it left. Raises FileNotFoundError when that is not there yet, ValueError when that stage is not at its end.
    What trains is float32, however it is stored."""
    if number > config.first_stage:
        before = config.weights(number - 1)
        if not before.is_file():
            raise FileNotFoundError(f"there is no {before}; train stage {number - 1} first")
        if (trained := trained_as(before)) != config.stage(number - 1).name:
            raise ValueError(
                f"{before} is not finished, it is trained as far as {trained}; go on with --stage {number - 1} "
                "--resume first"
            )
        return load_models(before, companions=config.companions_folder, dtype=torch.float32)
    if config.start:
        return load_models(config.start, companions=config.companions, dtype=torch.float32)
    model = PRESETS[config.model]()
    if not config.companions or Path(config.companions).is_dir():
        return untrained_models(model, companions=config.companions)
    beside = load_models(config.companions)
    return replace(untrained_models(model), text=beside.text, video=beside.video)


def trained_as(weights: Path) -> str:
    """What a file that a stage left says of itself: the stage's name, and how far it came if it is not finished."""
    config = read_metadata(weights).get(CONFIG)
    return ModelConfig.from_json(config).trained if config else "nothing that is known"


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
        config.data.lips,
    )


def examples_of(config: TrainingConfig, encoders: Encoders, source: Source) -> Examples:
    """Kept below the output folder if they are to be kept."""
    if not config.data.keep:
        return Examples(source, encoders)
    files = _files(Path(folder) for folder in (config.data.folder, config.data.voices) if folder)
    signed = {"files": files, **seen(config, encoders, source)}
    return Examples(source, encoders, Path(config.output) / "encoded", json.dumps(signed, sort_keys=True))


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


def what_decides(config: TrainingConfig, number: int, encoders: Encoders, source: Source) -> dict[str, Any]:
    """All that decides what a stage makes of a state; not where it is written, how often, and how it is shared out."""
    values = asdict(config)
    names = ("seed", "rows", "precision", "optimizer", "betas", "weight_decay", "gradient_clip", "ema")
    model = {name: value for name, value in asdict(encoders.models.config).items() if name != "trained"}
    return {
        "stage": asdict(config.stage(number)),
        **{name: values[name] for name in names},
        "start": config.start if number == config.first_stage else None,
        "model": model,
        **seen(config, encoders, source),
    }


def seen(config: TrainingConfig, encoders: Encoders, source: Source) -> dict[str, Any]:
    """What the frozen encoders look at, and what decides what they make of it; wherever it lies."""
    model = encoders.models.config
    return {
        "data": {"clips": {str(n): count for n, count in source.counts.items()}, **_samples(config, model, source)},
        "encoders": {**_weights(config, encoders), "copies": encoders.copies, "lips": encoders.lips},
        "seen as": {
            **{name: asdict(getattr(model, name)) for name in ("text", "video", "face", "speech", "speech_projector")},
            "fps": model.fps,
            "length of a prompt": model.transformer.max_text_seq_length,
            "token": (model.pixels_per_token, model.frames_per_latent),
            "rasterize": model.router.rasterize,
        },
    }


def _samples(config: TrainingConfig, model: ModelConfig, source: Source) -> dict[str, Any]:
    if isinstance(source, Folder):
        return {"manifest": sha256((source.path / MANIFEST).read_bytes()).hexdigest()}
    if config.data.drawn:
        return {"first_seed": config.data.first_seed, "world": asdict(world(config, model))}
    return {}  # a source of the caller's own


def _weights(config: TrainingConfig, encoders: Encoders) -> dict[str, str]:
    """A hash of what each encoder holds. Networks of the face encoder that are none of torch's are files beside it."""
    beside = (path for path in Path(config.face_model).rglob("*") if path.suffix in (".onnx", ".pth"))
    return encoders.hashes | {path.name: _hash_of_file(path) for path in sorted(beside)}


def _hash_of_file(path: Path) -> str:
    found = sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            found.update(part)
    return found.hexdigest()


def _files(folders: Iterable[Path]) -> str:
    """A hash of the names, sizes and times of all files, which is quick for any number of clips."""
    found = sha256()
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            found.update(f"{path.relative_to(folder)} {path.stat().st_size} {path.stat().st_mtime_ns}\n".encode())
    return found.hexdigest()
