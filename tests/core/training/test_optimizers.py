"""Which weights learn by which optimiser, and that all of them do."""

import pytest
import torch
from torch import nn

from byav_core.training.config import Data, TrainingConfig
from byav_core.training.optimizers import course, make_optimizers
from byav_core.training.stages import STAGES, adapt, freeze


def configured(**changes):
    return TrainingConfig(Data(folder="unused"), "out", **changes)


def by_name(module: nn.Module, optimizer) -> set[str]:
    names = {p: name for name, p in module.named_parameters()}
    return {names[p] for group in optimizer.param_groups for p in group["params"]}


def test_the_papers_optimiser_has_all_that_trains(network):
    trained = freeze(network, STAGES[0])
    (adamw,) = make_optimizers(network, configured())
    assert by_name(network, adamw) == set(trained)


def test_muon_has_the_matrices_inside_and_no_others(network):
    trained = freeze(network, STAGES[0])
    adamw, muon = make_optimizers(network, configured(optimizer="muon"))
    inside, others = by_name(network, muon), by_name(network, adamw)
    assert inside | others == set(trained) and not inside & others
    assert all(trained[name].ndim == 2 for name in inside)
    assert "transformer.transformer_blocks.0.attn1.to_q.weight" in inside
    for word in ("norm", "embed", "proj_out", "time", "bias", "latents"):
        assert not [name for name in inside if word in name], word


def test_adapters_learn_by_adamw(network):
    adapt(network, STAGES[1])
    freeze(network, STAGES[1])
    adamw, muon = make_optimizers(network, configured(optimizer="muon"))
    assert [name for name in by_name(network, adamw) if "lora_" in name]
    assert not [name for name in by_name(network, muon) if "lora_" in name]


@pytest.mark.parametrize("name, count", [("adamw", 1), ("muon", 2)])
def test_every_weight_moves(name, count):
    module = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 2))
    before = [p.detach().clone() for p in module.parameters()]
    optimizers = make_optimizers(module, configured(optimizer=name))
    assert len(optimizers) == count
    module(torch.randn(7, 3)).square().sum().backward()
    for optimizer in optimizers:
        optimizer.param_groups[0]["lr"] = 0.1
        optimizer.step()
    assert not any(torch.equal(p, old) for p, old in zip(module.parameters(), before, strict=True))


def test_the_learning_rate_rises_and_falls():
    shares = [course(step, steps=100, warm_up=10) for step in range(100)]
    assert shares[9] == max(shares) == 1.0 and shares[0] == 0.1 and shares[-1] < 0.01
    assert all(a < b for a, b in zip(shares[:9], shares[1:10], strict=True))
    assert all(a > b for a, b in zip(shares[10:-1], shares[11:], strict=True))
