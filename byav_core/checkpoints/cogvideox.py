"""The transformer folder in diffusers' layout, and the two base models that training can start from.

CogVideoX-5B-I2V gives the video blocks, ConsisID-preview also the face extractor and the face cross-attention. What
they lack starts untrained.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor
from torch.nn.functional import pad

from ..config import ModelConfig, paper
from .checkpoint import Checkpoint
from .infer import infer_config, read_json
from .names import released_name, without_additions
from .tensors import Reader, read_tensors

PAPER = paper()
WEIGHTS = "diffusion_pytorch_model"
LACKS = {
    "consisid": ("audio_model.", "router."),
    "cogvideox": ("audio_model.", "router.", "local_facial_extractor.", "perceiver_cross_attention."),
}
TRAINED = {
    "consisid": "untrained speech and router, started from ConsisID",
    "cogvideox": "untrained faces, speech and router, started from CogVideoX",
}


def read_base(folder: Path, kind: str, read: Reader = read_tensors, into: ModelConfig = PAPER) -> Checkpoint:
    """kind: "cogvideox" or "consisid". into: the model that is started; the base decides what it has itself."""
    transformer = folder / "transformer"
    tensors, files = read_transformer(transformer, read)
    config = infer_config(into, folder, transformer.name, tensors)
    return Checkpoint(
        format=kind,
        config=replace(config, name=kind, trained=TRAINED[kind]),
        tensors=tensors,
        files=files,
        rename=lambda key: released_name(key, config.transformer),
        home=lambda name: transformer,
        finish=lambda tensors: widened(merged(tensors), config.transformer.in_channels),
        lacks=LACKS[kind],
    )


def read_transformer(folder: Path, read: Reader) -> tuple[dict[str, Tensor], dict[str, Path]]:
    """All tensors of a diffusers model folder under plain names, and the file each is in."""
    tensors: dict[str, Tensor] = {}
    files: dict[str, Path] = {}
    for file in weight_files(folder):
        found = without_additions(read(file))
        tensors |= found
        files |= dict.fromkeys(found, file)
    return tensors, files


def weight_files(folder: Path) -> list[Path]:
    """One file, the shards of an index, or else all safetensors there are. Raises FileNotFoundError if none."""
    for name in (f"{WEIGHTS}.safetensors", f"{WEIGHTS}.bin"):
        if (folder / name).is_file():
            return [folder / name]
    if index := read_json(folder / f"{WEIGHTS}.safetensors.index.json"):
        return [folder / shard for shard in sorted(set(index.get("weight_map", {}).values()))]
    if shards := sorted(folder.glob("*.safetensors")):
        return shards
    raise FileNotFoundError(
        f"no weights in {folder}; expected {WEIGHTS}.safetensors, {WEIGHTS}.bin or several .safetensors there"
    )


def merged(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Low-rank adapters added to their weights at scale 1: W + B A.

    The release's alpha equals its rank, and its call to fuse with 1/128 touches nothing. An adapter without its
    other half, without its weight or of another shape is left in, to be reported among what does not fit.
    """
    whole = dict(tensors)
    for name in [name for name in tensors if name.endswith(".lora_A.weight")]:
        site = name.removesuffix(".lora_A.weight")
        down, up, weight = (tensors.get(f"{site}.{part}weight") for part in ("lora_A.", "lora_B.", ""))
        if (
            up is None
            or weight is None
            or (len(up), *down.shape[1:]) != tuple(weight.shape)
            or up.shape[1] != len(down)
        ):
            continue
        whole[f"{site}.weight"] = (weight.float() + up.float() @ down.float()).to(weight.dtype)
        del whole[name], whole[f"{site}.lora_B.weight"]
    return whole


def widened(tensors: Mapping[str, Tensor], in_channels: int) -> dict[str, Tensor]:
    """Zeros for the input channels that a base model does not have: at first it does not see what they bring."""
    name = "patch_embed.proj.weight"
    if name not in tensors or tensors[name].ndim != 4 or tensors[name].shape[1] >= in_channels:
        return dict(tensors)
    more = in_channels - tensors[name].shape[1]
    return {**tensors, name: pad(tensors[name], (0, 0, 0, 0, 0, more))}
