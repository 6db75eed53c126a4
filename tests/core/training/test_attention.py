"""Plain attention is attention: forward and backward, in every order of parts."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from byav_core.training import attention
from byav_core.training.attention import plain_attention, use_plain_attention
from byav_core.training.stages import STAGES, freeze
from byav_core.training.step import TrainingStep


@pytest.mark.parametrize("scores", [1, 3 * 7 * 7, 2**21])
def test_plain_attention_and_its_gradients_are_those_of_pytorch(scores, monkeypatch):
    monkeypatch.setattr(attention, "SCORES", scores)
    generator = torch.Generator().manual_seed(0)
    q, k, v, above = (torch.randn(2, 5, 7, 4, generator=generator, dtype=torch.float64) for _ in range(4))
    found = []
    for attend in (plain_attention, scaled_dot_product_attention):
        inputs = [x.clone().requires_grad_() for x in (q, k, v)]
        out = attend(*inputs)
        found.append([out, *torch.autograd.grad(out, inputs, above)])
    assert all(torch.allclose(ours, theirs, atol=1e-12) for ours, theirs in zip(*found, strict=True))


def test_a_step_has_the_same_losses_with_plain_attention(network, small_config, batch):
    freeze(network, STAGES[0])
    step = TrainingStep(network, STAGES[0], small_config.schedule)
    losses = []
    for _ in range(2):
        losses.append(step(batch, torch.Generator().manual_seed(3))["total"])
        use_plain_attention(network)
    assert torch.allclose(*losses, rtol=1e-5)
