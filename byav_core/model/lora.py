"""Low-rank adapters on the joint attention (§3.4, stage 2 on): added through PEFT, or merged into the weights.

A released file names its tensors `transformer.[module.]transformer_blocks.{i}.attn1.to_q.lora_A.weight`; `module.` was
left by the training framework. Its rank equals its alpha, so the merge is W + B A, at scale 1.
"""

import torch
from torch import Tensor, nn

from .transformer import BindYourAvatarTransformer

TARGETS = ("attn1.to_q", "attn1.to_k")


def add_lora(transformer: BindYourAvatarTransformer, rank: int = 128, alpha: int = 128) -> None:
    """Freeze the weights and put trainable adapters beside the queries and keys; they start without effect."""
    from peft import LoraConfig

    transformer.requires_grad_(False)
    transformer.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(TARGETS)))


def lora_state_dict(transformer: BindYourAvatarTransformer) -> dict[str, Tensor]:
    """The adapters under the released names."""
    from peft import get_peft_model_state_dict

    return {f"transformer.{key}": value for key, value in get_peft_model_state_dict(transformer).items()}


@torch.no_grad()
def merge_lora(transformer: nn.Module, lora: dict[str, Tensor]) -> None:
    """Add every adapter of a LoRA file to its weight, at scale 1.

    Raises ValueError naming every tensor that has no place, no partner or the wrong extent; then nothing is merged.
    """
    pairs, misfits = _pairs({_plain(key): value for key, value in lora.items()})
    layers = {name: module for name, module in transformer.named_modules() if isinstance(module, nn.Linear)}
    weights = {name.removesuffix(".base_layer"): layer.weight for name, layer in layers.items()}
    misfits += [f"{name}: the transformer has no such linear layer" for name in pairs if name not in weights]
    misfits += [
        f"{name}: B {tuple(b.shape)} times A {tuple(a.shape)} does not give the weight {tuple(weights[name].shape)}"
        for name, (a, b) in pairs.items()
        if name in weights and (b.shape[0], a.shape[1], a.shape[0]) != (*weights[name].shape, b.shape[1])
    ]
    if misfits:
        raise ValueError("this LoRA does not fit the transformer:\n  " + "\n  ".join(sorted(misfits)))
    for name, (a, b) in pairs.items():
        weight = weights[name]
        weight.copy_(weight.float() + b.to(weight.device).float() @ a.to(weight.device).float())


def _plain(key: str) -> str:
    return key.removeprefix("transformer.").removeprefix("module.")


def _pairs(lora: dict[str, Tensor]) -> tuple[dict[str, tuple[Tensor, Tensor]], list[str]]:
    """A and B by the name of the layer they belong to, and a line for each tensor that has no partner."""
    a, b = (
        {key.removesuffix(end): value for key, value in lora.items() if key.endswith(end)}
        for end in (".lora_A.weight", ".lora_B.weight")
    )
    known = {f"{name}.lora_{side}.weight" for name in a.keys() & b.keys() for side in "AB"}
    misfits = [f"{key}: neither half of a pair lora_A.weight, lora_B.weight" for key in lora.keys() - known]
    return {name: (a[name], b[name]) for name in a if name in b}, misfits
