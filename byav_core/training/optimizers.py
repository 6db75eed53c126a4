"""What turns gradients into steps: AdamW as in the paper, or Muon for the matrices inside the network beside it; and
how long those steps are, as training goes on."""

import math
import re

import torch
from torch import nn
from torch.optim import Optimizer

from .config import TrainingConfig

AT_THE_EDGE = r"norm|embed|proj_out|proj_in|time|lora_|latents|tokens|router"  # AdamW's, matrix or not


def make_optimizers(module: nn.Module, config: TrainingConfig) -> tuple[Optimizer, ...]:
    """For what trains of `module`. Their learning rate is set at every step; one rate serves both, since Muon's
    updates are scaled to be as large as AdamW's."""
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    inside = {n: p for n, p in trained.items() if config.optimizer == "muon" and p.ndim == 2}
    inside = {n: p for n, p in inside.items() if not re.search(AT_THE_EDGE, n)}
    others = [p for name, p in trained.items() if name not in inside]
    adamw = torch.optim.AdamW(
        others, lr=0.0, betas=config.betas, eps=1e-8, weight_decay=config.weight_decay, fused=True
    )
    if not inside:
        return (adamw,)
    muon = torch.optim.Muon(inside.values(), lr=0.0, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw")
    return adamw, muon


def course(step: int, steps: int, warm_up: int) -> float:
    """The share of the learning rate at the step that follows after `step` others: rises in a line, then falls to zero
    as a cosine."""
    if step < warm_up:
        return (step + 1) / warm_up
    done = (step - warm_up) / max(1, steps - warm_up)
    return (1 + math.cos(math.pi * done)) / 2
