"""Key names: the network's, the released files', and the additions that adapters and training engines leave."""

import re
from collections.abc import Mapping

from torch import Tensor

from ..config import TransformerConfig
from .fit import CheckpointError

# The network's prefix and the released one. In the release the cross-attentions stand in lists of their own, counted
# by face layer and audio layer; in the network they are inside the block after which they run.
PARTS = (
    ("face_extractor.", "local_facial_extractor."),
    ("router.", "router."),
    ("speech_projector.mute_learnable_tokens", "audio_model.mute_learnable_tokens"),
    ("speech_projector.learnable_scale", "audio_model.learnable_scale"),
    ("speech_projector.", "audio_model.audio_proj_model."),
    ("transformer.", ""),
)
LISTS = {"face": "perceiver_cross_attention", "audio": "audio_model.layers"}
_IN_BLOCK = re.compile(r"transformer\.transformer_blocks\.(\d+)\.(face|audio)\.(.+)")
_ADDED_IN_FRONT = re.compile(r"^(?:base_model\.model\.|transformer\.|module\.)+")


def released_name(key: str, config: TransformerConfig) -> str:
    """The released name of a parameter of the network."""
    if in_block := _IN_BLOCK.fullmatch(key):
        block, kind, rest = in_block.groups()
        interval = {"face": config.face_interval, "audio": config.audio_interval}[kind]
        return f"{LISTS[kind]}.{int(block) // interval}.{rest}"
    for ours, theirs in PARTS:
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    raise KeyError(f"{key} is no parameter of the network; known parts are {[ours for ours, _ in PARTS]}")


def to_released(state: Mapping[str, Tensor], config: TransformerConfig) -> dict[str, Tensor]:
    """The network's state dict under the released names."""
    return {released_name(key, config): tensor for key, tensor in state.items()}


def without_additions(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Plain names, without those of a PEFT wrapper (base_model.model, base_layer) and a DeepSpeed engine (module)."""
    plain: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        name = _ADDED_IN_FRONT.sub("", key).replace(".base_layer.", ".")
        name = re.sub(r"\.lora_([AB])\.\w+\.weight$", r".lora_\1.weight", name)
        if name in plain:
            raise CheckpointError(f"two tensors are both {name}, one of them written as {key}; keep one of them")
        plain[name] = tensor
    return plain
