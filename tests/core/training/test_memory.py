"""The full-size training without a full-size machine: shapes on meta, numbers at full width and one block."""

from dataclasses import replace

import pytest
import torch

from byav_core.config import paper
from byav_core.network import Network
from byav_core.training.memory import SHARINGS, activations, blank_batch, memory, parameters, saved_bytes
from byav_core.training.stages import STAGES, Drops, adapt, freeze
from byav_core.training.step import TrainingStep
from byav_core.types import Clip

FULL = Clip(49, 480, 720, 25.0)
SMALL = Clip(9, 32, 48, 12.5)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_step_of_the_full_size_training_holds_together_on_meta(stage):
    network = Network.on_meta(paper()).float()
    adapt(network, stage)
    trained = freeze(network, stage)
    network.transformer.enable_gradient_checkpointing()
    step = TrainingStep(network.train(), stage, paper().schedule).to("meta")
    losses = step(blank_batch(paper(), FULL, rows=1), torch.Generator().manual_seed(0))
    assert losses["total"].shape == ()
    losses["total"].backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in trained.values())


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_two_steps_at_full_width_and_one_block_teach_something(stage):
    """About 7 GB. All extents are the paper's but for the depth, the clip's size, and the tokens of the speech
    projector, whose 1.2 billion numbers alone would need 20 GB more."""
    full = paper()
    narrow = replace(full.speech_projector, tokens=4, mute_shape=(4, 768))
    model = replace(full, speech_projector=narrow, transformer=replace(full.transformer, num_layers=1))
    network = Network.seeded(model)
    adapt(network, stage)
    trained = freeze(network, stage)
    step = TrainingStep(network.train(), replace(stage, drops=Drops(0.0, 0.0, 0.0, 0.0)), model.schedule)
    optimizer = torch.optim.AdamW(trained.values(), lr=stage.learning_rate)
    batch, found = blank_batch(model, Clip(5, 32, 48, 25.0), rows=1, device="cpu"), []
    for _ in range(3):
        losses = step(batch, torch.Generator().manual_seed(0))
        losses["total"].backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(losses["total"].item())
    assert found[2] < found[0], f"the loss went from {found[0]} to {found[2]}"


def test_parameters_are_counted_as_they_train(small_config):
    trained, frozen = parameters(small_config, STAGES[0])
    network = Network.on_meta(small_config)
    assert trained + frozen == sum(p.numel() for p in network.parameters())
    assert trained == sum(p.numel() for p in freeze(network, STAGES[0]).values())


def test_more_clips_at_once_need_more_and_more_gpus_less(small_config):
    one, two = (activations(small_config, STAGES[2], SMALL, rows) for rows in (1, 2))
    assert 1.8 * one < two < 2.2 * one
    for name, sharing in SHARINGS.items():
        few, many = (memory(small_config, STAGES[0], SMALL, 1, gpus, sharing).parameters for gpus in (2, 8))
        assert few == many if name == "DDP" else few > many


def test_what_is_counted_on_meta_is_what_autograd_keeps(small_config, batch):
    """The same clip as numbers and as shapes; attention on a processor without scores may keep a little else."""
    found = []
    for device in ("cpu", "meta"):
        network = Network.seeded(small_config)
        freeze(network, STAGES[0])
        step = TrainingStep(network, STAGES[0], small_config.schedule).to(device)
        found.append(saved_bytes(step, blank_batch(small_config, SMALL, 2, device=device)))
    assert found[0] == pytest.approx(found[1], rel=0.1)


def test_the_weights_alone_of_an_unshared_full_training_are_too_much_for_one_gpu():
    """Why there is DeepSpeed or FSDP in the first place."""
    assert memory(paper(), STAGES[0], FULL, 1, 8, SHARINGS["DDP"]).total > 100e9
    assert all(memory(paper(), STAGES[0], FULL, 1, 8, SHARINGS[name]).total < 80e9 for name in ("ZeRO-2", "FSDP2"))
