"""What a weights file or model folder is, in words, from names and shapes alone."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from ..config import ModelConfig, paper, released
from ..network import Network
from .checkpoint import Checkpoint
from .fit import CheckpointError, gather
from .load import read_checkpoint
from .single_file import CONFIG
from .tensors import read_metadata, read_shapes

FORMATS = {
    "byav": "one file with the whole network",
    "released": "the authors' published folder",
    "consisid": "base model ConsisID, a start for training",
    "cogvideox": "base model CogVideoX, a start for training",
}
# What a single file may be, by a name that only it holds.
FILES = {
    "audio_proj_model.proj1.weight": "speech projector and audio cross-attention of the release",
    "local_facial_extractor.latents": "face extractor and face cross-attention",
    "spatial_temporal_layers.0.norm1.weight": "router of the release",
    "patch_embed.proj.weight": "video transformer in diffusers' layout",
    "encoder.conv_in.conv.weight": "video autoencoder in diffusers' layout",
    "encoder.block.0.layer.0.SelfAttention.q.weight": "T5 text encoder",
    "encoder.layers.0.attention.q_proj.weight": "wav2vec2 speech encoder",
}
# Parts of a whole model by what their names look like, here and in the release; the first that fits.
PARTS = {
    r".*\.lora_[AB]\.": "adapters",
    r"perceiver_cross_attention\.|.*\.face\.": "face cross-attention",
    r"audio_model\.layers\.|.*\.audio\.": "audio cross-attention",
    r"local_facial_extractor\.|face_extractor\.": "face extractor",
    r"audio_model\.|speech_projector\.": "speech projector",
    r"router\.": "router",
    r"": "video blocks",
}
COMPANIONS = {"text": "text encoder", "video": "video autoencoder"}


def inspect(path: str | Path) -> str:
    """Format, dialect, training, parts, numbers and sizes, and whether everything is there.

    A weights file of another kind is described as far as its names say. Raises FileNotFoundError, and CheckpointError
    for what cannot be read.
    """
    path = Path(path)
    if path.is_file() and CONFIG not in read_metadata(path):
        return _lines(path, _file(read_shapes(path)))
    return _lines(path, _model(read_checkpoint(path, read_shapes)))


def _model(checkpoint: Checkpoint) -> dict[str, list[str]]:
    config = checkpoint.config
    return {
        "format": [f"{checkpoint.format}: {FORMATS[checkpoint.format]}"],
        "model": [f"{config.name}, {_dialect(config)}"],
        "training": [config.trained],
        "size": [_size(checkpoint.tensors)],
        "on disk": [f"{file} {_bytes(file.stat().st_size)}" for file in sorted(set(checkpoint.files.values()))],
        "parts": _parts(checkpoint),
        "complete": _complete(checkpoint),
    }


def _file(tensors: Mapping[str, Tensor]) -> dict[str, list[str]]:
    groups: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        groups[name.split(".")[0]][name] = tensor
    known = [what for name, what in FILES.items() if name in tensors]
    known += ["adapters (LoRA)"] if any(".lora_" in name for name in tensors) else []
    return {
        "format": [", ".join(known) or "unknown"],
        "training": ["the file does not say"],
        "size": [_size(tensors)],
        "parts": [f"{name}: {_size(group)}" for name, group in groups.items()],
    }


def _dialect(config: ModelConfig) -> str:
    how = f"{config.router.head} router with {config.router.positions} positions"
    known = {(paper().router.head, paper().router.positions): "paper's dialect"}
    known[(released().router.head, released().router.positions)] = "released dialect"
    return f"{known.get((config.router.head, config.router.positions), 'mixed dialect')} ({how})"


def _parts(checkpoint: Checkpoint) -> list[str]:
    groups: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS.values()}
    for name, tensor in checkpoint.tensors.items():
        part = next(part for pattern, part in PARTS.items() if re.match(pattern, name))
        groups[part][name] = tensor
    groups |= {COMPANIONS[name]: state for name, state in checkpoint.companions.items()}
    return [f"{part}: {_size(group)}" for part, group in groups.items() if group]


def _complete(checkpoint: Checkpoint) -> list[str]:
    network = Network.on_meta(checkpoint.config)
    try:
        checkpoint.fitted(network)
    except CheckpointError as error:
        return str(error).splitlines()
    if untrained := checkpoint.untrained(network):
        return ["yes, as a base model; would start untrained:", *gather(untrained)]
    return ["yes, every tensor has its place"]


def _size(tensors: Mapping[str, Tensor]) -> str:
    if not tensors:
        return "no tensors"
    numbers, size = sum(tensor.numel() for tensor in tensors.values()), sum(t.nbytes for t in tensors.values())
    dtypes = ", ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}))
    return f"{numbers:,} numbers in {len(tensors)} tensor{'s' * (len(tensors) != 1)}, {dtypes}, {_bytes(size)}"


def _bytes(size: int) -> str:
    for power, unit in enumerate(("bytes", "kB", "MB")):
        if size < 1000 ** (power + 1):
            return f"{size / 1000**power:.3g} {unit}"
    return f"{size / 1000**3:,.2f} GB"


def _lines(path: Path, facts: Mapping[str, Iterable[str]]) -> str:
    """One fact to a line, its name before the first."""
    text = [str(path)]
    for name, values in facts.items():
        text += [f"{name if line == 0 else '':<9} {value}" for line, value in enumerate(values)]
    return "\n".join(text)
