"""The authors' published folder: a transformer in diffusers' layout and four files beside it, and that layout again
from a network of ours.

Read in the released order, where a later file replaces what an earlier one brought: transformer (or transformer_ema,
which goes before it), audio, face, router, adapters.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config import ModelConfig, released
from .checkpoint import Checkpoint
from .cogvideox import WEIGHTS, merged, read_transformer, widened
from .fit import CheckpointError
from .infer import FACE_EXTRACTOR_NAMES, infer_config, read_json
from .names import LISTS, released_name, to_released, without_additions
from .tensors import Reader, read_tensors, unfinished_name, write_pickle, write_safetensors

TRANSFORMERS = ("transformer_ema", "transformer")
CONFIG = "bind_your_avatar"  # where transformer/config.json keeps our own configuration, if we wrote the folder


@dataclass(frozen=True)
class Part:
    """One of the files beside the transformer. names: what its names begin with in the whole model.

    prefix: what the file leaves out of its names.
    """

    path: str
    names: tuple[str, ...]
    prefix: str = ""


PARTS = (
    Part("audio_module/audio_modules.pt", ("audio_model.",), prefix="audio_model."),
    Part("face_module/face_modules.pt", ("local_facial_extractor.", "perceiver_cross_attention.")),
    Part("router/router_modules.pt", ("router.",), prefix="router."),
    Part("lora_weight/pytorch_lora_weights.safetensors", ()),
)


def read_released(folder: Path, read: Reader = read_tensors) -> Checkpoint:
    """Raises FileNotFoundError naming every file that is missing, CheckpointError when the config.json is wrong."""
    transformer, parts = _find(folder)
    tensors, files = read_transformer(transformer, read)
    for part in PARTS:
        found = {part.prefix + name: t for name, t in without_additions(read(parts[part])).items()}
        tensors |= found
        files |= dict.fromkeys(found, parts[part])
    config = _config(folder, transformer, tensors)
    return Checkpoint(
        format="released",
        config=config,
        tensors=tensors,
        files=files,
        rename=lambda key: released_name(key, config.transformer),
        home=lambda name: next((parts[part] for part in PARTS if name.startswith(part.names)), transformer),
        finish=lambda tensors: widened(merged(tensors), config.transformer.in_channels),
    )


def _find(folder: Path) -> tuple[Path, dict[Part, Path]]:
    """The transformer's folder and the four files; a .safetensors in place of a .pt will do."""
    transformer = next((folder / name for name in TRANSFORMERS if (folder / name).is_dir()), None)
    missing = [] if transformer else [" or ".join(f"{name}/" for name in TRANSFORMERS)]
    parts: dict[Part, Path] = {}
    for part in PARTS:
        places = [folder / part.path, (folder / part.path).with_suffix(".safetensors")]
        if place := next((place for place in places if place.is_file()), None):
            parts[part] = place
        else:
            missing.append(" or ".join(dict.fromkeys(place.relative_to(folder).as_posix() for place in places)))
    if missing:
        raise FileNotFoundError(
            f"the released model in {folder} is incomplete; missing: {', '.join(missing)}. "
            "Download the whole published folder, keeping its sub-folders"
        )
    return transformer, parts


def _config(folder: Path, transformer: Path, tensors: Mapping[str, Tensor]) -> ModelConfig:
    stated = read_json(transformer / "config.json")
    if CONFIG not in stated:
        return infer_config(released(), folder, transformer.name, tensors)
    try:
        return ModelConfig.from_json(json.dumps(stated[CONFIG]))
    except ValueError as error:
        raise CheckpointError(f"{transformer / 'config.json'}: {error}") from error


def write_released(state: Mapping[str, Tensor], config: ModelConfig, folder: Path) -> None:
    """A network's state dict as the released folder, whole or not at all.

    Adapters are merged, so their file holds ones that change nothing. Raises FileExistsError.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} is already there; name a folder that does not exist yet")
    unfinished = unfinished_name(folder)
    try:
        _write_parts(to_released(state, config.transformer), config, unfinished)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_parts(tensors: Mapping[str, Tensor], config: ModelConfig, folder: Path) -> None:
    audio, face, router, adapters = PARTS
    for part in (audio, router):
        write_pickle(_compact(_below(tensors, part.prefix)), folder / part.path)
    extractor, attention = face.names
    write_pickle(
        {
            extractor.rstrip("."): _compact(_below(tensors, extractor)),
            attention.rstrip("."): [
                _compact(_below(tensors, f"{LISTS['face']}.{layer}."))
                for layer in range(config.transformer.face_layers)
            ],
        },
        folder / face.path,
    )
    beside = tuple(name for part in PARTS for name in part.names)
    base = {name: tensor for name, tensor in tensors.items() if not name.startswith(beside)}
    write_safetensors(base, folder / "transformer" / f"{WEIGHTS}.safetensors")
    write_safetensors(_adapters_of_nothing(base), folder / adapters.path)
    (folder / "transformer" / "config.json").write_text(json.dumps(_stated(config), indent=2), encoding="utf-8")


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _compact(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """PyTorch writes the memory behind a tensor, not the tensor: views of a larger one are copied first."""
    return {
        name: tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()
        for name, tensor in tensors.items()
    }


def _adapters_of_nothing(base: Mapping[str, Tensor], rank: int = 128) -> dict[str, Tensor]:
    """The released loader wants adapters of rank 128 on the queries and keys of every block."""
    adapters: dict[str, Tensor] = {}
    for name, weight in base.items():
        if name.endswith((".attn1.to_q.weight", ".attn1.to_k.weight")):
            site = f"transformer.{name.removesuffix('.weight')}"
            adapters[f"{site}.lora_A.weight"] = torch.zeros(rank, weight.shape[1], dtype=weight.dtype)
            adapters[f"{site}.lora_B.weight"] = torch.zeros(len(weight), rank, dtype=weight.dtype)
    return adapters


def _stated(config: ModelConfig) -> dict[str, Any]:
    """config.json under the released names, and our own configuration beside them."""
    transformer, extractor = config.transformer, config.face_extractor
    return {
        **asdict(transformer),
        "use_rotary_positional_embeddings": True,
        "is_train_face": True,
        "is_train_audio": True,
        "cross_attn_interval": transformer.face_interval,
        "cross_attn_num_heads": transformer.face_heads,
        "cross_attn_dim_head": transformer.face_head_dim,
        "audio_attn_interval": transformer.audio_interval,
        **{theirs: getattr(extractor, ours) for theirs, ours in FACE_EXTRACTOR_NAMES.items()},
        CONFIG: asdict(config),
    }
