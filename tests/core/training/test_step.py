"""Training shows the network what sampling shows it, and teaches each part only by what concerns it."""

from dataclasses import replace

import pytest
import torch

from byav_core import pipeline
from byav_core.matrix import AudioCharacterMatrix
from byav_core.routing import TeacherForced
from byav_core.sampling.schedule import signal_shares
from byav_core.training.example import seed_of
from byav_core.training.losses import routing_loss
from byav_core.training.stages import STAGES, Drops, adapt, freeze
from byav_core.training.step import (
    OwnMasks,
    TrainingStep,
    draw,
    mask_source,
    model_inputs,
    router_losses,
)

NOTHING_DROPPED = Drops(0.0, 0.0, 0.0, 0.0)
STAGE_1, STAGE_2, STAGE_3 = (replace(stage, drops=NOTHING_DROPPED, lora_rank=4) for stage in STAGES)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def ready(network, stage):
    adapt(network, stage)
    freeze(network, stage)
    return TrainingStep(network, stage, network.config.schedule)


class Shown(Exception):
    """What the transformer was given in its first call."""


@pytest.fixture
def first_call(monkeypatch):
    """Runs something up to its first call of the transformer and gives the inputs of that."""

    def watch(network, run):
        def stop(*inputs, **_):
            raise Shown(*inputs)

        with monkeypatch.context() as patch, pytest.raises(Shown) as shown:
            patch.setattr(network.transformer, "forward", stop)
            run()
        return shown.value.args

    return watch


# the same input as sampling ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("characters, seed", [(1, 0), (2, 0), (3, 1)])
def test_training_shows_the_network_exactly_what_sampling_shows_it(
    characters, seed, encoders, squares, first_call, monkeypatch
):
    """At the first step of sampling there is only noise; so there is in training at the last timestep."""
    from byav_core.training.mixture import collate

    sample, models = squares.sample(characters, seed), encoders.models
    staged = encoders.stage(sample)
    scene = replace(staged.scene, faces=sample.masks[:, 0].amax(dim=0))
    noise_of_faces = seed_of(sample.name)

    def film():
        prompt = pipeline.encode_prompt(models.text, sample.prompt)
        conditions = pipeline.condition(models, prompt, staged.cast, staged.streams, staged.matrix, scene.clip)
        masks = pipeline.plan_routing("fixed", models, scene, staged.cast, masks=sample.masks)
        settings = pipeline.SamplingSettings(seed=noise_of_faces, steps=2, guidance=pipeline.Joint(1.0))
        pipeline.sample(models, scene, conditions, masks, settings)

    def train():
        with torch.no_grad():
            batch = collate((encoders.example(sample),), (False,), models.text(""))
            TrainingStep(models.network, stage, models.config.schedule)(batch, seeded(noise_of_faces))

    stage = replace(STAGE_2, mask_dropout=0.0, mask_noise=0.0)
    monkeypatch.setattr(torch, "randint", lambda high, size, **_: torch.full(size, high - 1))
    sampled, trained = first_call(models.network, film), first_call(models.network, train)

    for name, ours, theirs in zip(("input", "text", "timestep"), trained, sampled, strict=False):
        assert torch.equal(ours, theirs), name
    for part in ("face", "audio"):
        for ours, theirs in zip(getattr(trained[3], part), getattr(sampled[3], part), strict=True):
            assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1]), part
    assert torch.equal(trained[3].audio_to_character, sampled[3].audio_to_character)
    q, k = torch.zeros(1, 1, scene.grid.tokens, 1), torch.zeros(1, characters, 1, 1, 1)
    assert torch.equal(trained[4](0, q, k).mask, sampled[4](0, q, k).mask)


def test_dropped_speech_and_text_are_what_guidance_leaves_out(encoders, batch, squares):
    network, models = encoders.models.network, encoders.models
    stage = replace(STAGE_2, drops=Drops(text=1.0, reference=0.0, first_frame=0.0, speech=1.0))
    with torch.no_grad():
        inputs = model_inputs(
            network, batch, draw(batch, stage, 1000, seeded()), stage, signal_shares(models.config.schedule)
        )
    staged = encoders.stage(squares.sample(2, 0))
    prompt = pipeline.encode_prompt(models.text, "")
    left_out = pipeline.condition(models, prompt, staged.cast, staged.streams, staged.matrix, staged.scene.clip)
    with torch.no_grad():
        silent = network.transformer.project_speech(left_out.no_speech)
    assert torch.equal(inputs.text, left_out.negative.expand_as(inputs.text))
    for ours, theirs in zip(inputs.binding.audio, silent, strict=True):
        torch.testing.assert_close(ours[0][:1, :1], theirs[0][:, :1])


@pytest.mark.parametrize("dropped, share", [("reference", 1), ("first_frame", 2)])
def test_a_dropped_picture_is_zero_and_leaves_the_others_as_they_were(dropped, share, encoders, batch):
    network, signal = encoders.models.network, signal_shares(encoders.models.config.schedule)
    stage = replace(STAGE_2, drops=replace(NOTHING_DROPPED, **{dropped: 1.0}))
    with torch.no_grad():
        whole, less = (
            model_inputs(network, batch, draw(batch, s, 1000, seeded()), s, signal).hidden_states.chunk(3, dim=2)
            for s in (STAGE_2, stage)
        )
    for third in range(3):
        assert torch.equal(less[third], whole[third] * (third != share))


def test_without_speech_in_stage_1_no_voice_reaches_anybody(network, batch):
    step = ready(network, STAGE_1)
    louder = replace(batch, speech=batch.speech + 1)
    with torch.no_grad():
        assert step(batch, seeded())["total"] == step(louder, seeded())["total"]
        assert ready(network, STAGE_2)(batch, seeded())["total"] != step(louder, seeded())["total"]


# masks ---------------------------------------------------------------------------------------------------------------


def test_the_injected_masks_are_disturbed_and_the_target_never_is(network, batch):
    """The released code writes its noise into the target."""
    true = batch.masks.clone()
    stage = replace(STAGE_3, mask_dropout=0.5, mask_noise=0.3)
    ready(network, stage)
    source = mask_source(network, batch, draw(batch, stage, 1000, seeded()), stage, seeded(1))
    assert isinstance(source, TeacherForced)
    injected = source.disturbed()
    assert not torch.equal(injected, source.target) and ((injected >= 0) & (injected <= 1)).all()
    TrainingStep(network, stage, network.config.schedule)(batch, seeded())
    assert torch.equal(batch.masks, true) and torch.equal(source.target, true.flatten(2))


def test_targets_follow_the_characters_through_time(batch):
    """The released code takes the maximum over time, so that its targets stand still."""
    assert (batch.masks.diff(dim=2).abs().sum(dim=(2, 3, 4)) > 0).all()
    assert batch.masks.shape[-1] > batch.masks.shape[-2]  # columns last: axes are not folded the other way round


def test_where_the_routers_own_masks_are_injected_the_truth_is_nowhere_in_the_input(network, batch):
    stage = replace(STAGE_3, teacher_forcing=0.0)
    step = ready(network, stage)
    elsewhere = replace(batch, masks=batch.masks.flip(-1))
    watched = []
    network.transformer.proj_out.register_forward_hook(lambda *call: watched.append(call[2]))
    for one in (batch, elsewhere):
        step(one, seeded())
    assert torch.equal(*watched)


def test_iou_is_measured_only_where_no_true_mask_was_injected(network, batch):
    ready(network, STAGE_3)
    forced, own = (
        TrainingStep(network, replace(STAGE_3, teacher_forcing=share), network.config.schedule)(batch, seeded())
        for share in (1.0, 0.0)
    )
    assert "iou" not in forced and 0 <= own["iou"] <= 1


# gradients -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forcing", [0.0, 1.0])
def test_the_router_teaches_only_itself_and_only_its_losses_teach_it(network, batch, forcing):
    stage = replace(STAGE_3, teacher_forcing=forcing)
    step = ready(network, stage)
    losses = step(batch, seeded())
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    router = {name: p for name, p in trained.items() if name.startswith("router.")}
    others = {name: p for name, p in trained.items() if name not in router}
    routing = losses["routing"] + losses["smoothness"] + losses["agreement"]
    assert all(g is None for g in gradients(routing, others)) and others
    assert all(g is None for g in gradients(losses["denoising"], router)) and router
    assert all(g is not None for g in gradients(routing, router))
    assert all(g is not None for g in gradients(losses["denoising"], others))


def test_faces_of_zeros_teach_the_router_nothing(network, batch):
    """Nor do they make gradients so long that clipping them leaves nothing of the others."""
    step = ready(network, replace(STAGE_3, drops=replace(NOTHING_DROPPED, reference=1.0)))
    losses = step(batch, seeded())
    losses["total"].backward()
    assert losses["routing"] == 0 and "iou" not in losses
    assert all(not p.grad.any() for p in network.router.parameters() if p.requires_grad)


def gradients(loss, parameters):
    return torch.autograd.grad(loss, list(parameters.values()), retain_graph=True, allow_unused=True)


@pytest.mark.parametrize("stage", [STAGE_1, STAGE_2, STAGE_3], ids=lambda stage: stage.name)
def test_everything_that_trains_is_taught_even_when_all_conditions_are_dropped(network, batch, stage):
    """Whatever shares the gradients out among processes waits for every one of them."""
    step = ready(network, replace(stage, drops=Drops(1.0, 1.0, 1.0, 1.0)))
    step(batch, seeded())["total"].backward()
    assert [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None] == []
    assert [name for name, p in network.named_parameters() if not p.requires_grad and p.grad is not None] == []


@pytest.mark.parametrize("forcing", [0.0, 1.0])
def test_recomputing_blocks_in_the_backward_pass_changes_no_gradient(network, batch, forcing):
    step = ready(network, replace(STAGE_3, teacher_forcing=forcing))
    found = []
    for recompute in (False, True):
        network.zero_grad()
        (network.transformer.enable_gradient_checkpointing if recompute else lambda: None)()
        losses = step(batch, seeded())
        losses["total"].backward()
        found.append((losses, [p.grad.clone() for p in network.parameters() if p.requires_grad]))
    assert all(torch.equal(found[0][0][name], found[1][0][name]) for name in found[0][0])
    assert all(torch.equal(a, b) for a, b in zip(found[0][1], found[1][1], strict=True))


# sums ----------------------------------------------------------------------------------------------------------------


def test_a_step_is_a_function_of_its_batch_and_generator(network, batch):
    step = ready(network, STAGE_3)
    before = torch.get_rng_state()
    first, again = step(batch, seeded(3)), step(batch, seeded(3))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert torch.equal(before, torch.get_rng_state())
    assert step(batch, seeded(4))["total"] != first["total"]


def test_the_total_is_the_sum_with_the_papers_weights(network, batch):
    losses = ready(network, STAGE_3)(batch, seeded())
    expected = losses["denoising"] + losses["routing"] + 0.001 * losses["smoothness"] + 8 * losses["agreement"]
    torch.testing.assert_close(losses["total"], expected)


def test_stages_without_the_router_only_denoise(network, batch):
    assert set(ready(network, STAGE_1)(batch, seeded())) == {"denoising", "total"}


def test_equation_2_is_asked_of_the_predicted_masks_not_of_the_injected_ones(network, batch):
    step = ready(network, STAGE_3)
    layers = []
    hook = network.router.register_forward_hook(lambda *call: layers.append(call[2]))
    losses = step(batch, seeded())
    hook.remove()
    expected = routing_loss([routed.logits for routed in layers], batch.masks.flatten(2))
    torch.testing.assert_close(losses["routing"], expected)
    everybody = list(range(len(batch.names)))
    assert router_losses(tuple(layers), batch.masks, everybody)["routing"] == losses["routing"]


def test_own_masks_carry_no_gradient_into_the_denoising(network, batch):
    source = mask_source(network, batch, replace(draw(batch, STAGE_3, 1000, seeded()), forced=False), STAGE_3, seeded())
    assert isinstance(source, OwnMasks)
    heads, width = network.config.transformer.face_heads, network.config.transformer.face_head_dim
    q = torch.randn(2, heads, batch.masks[0, 0].numel(), width, requires_grad=True)
    k = torch.randn(2, 2, heads, network.config.face_extractor.queries, width)
    routed = source(0, q, k)
    assert not routed.mask.requires_grad and routed.logits.requires_grad


def test_a_clip_with_one_stream_fewer_is_filled_up_without_effect(encoders, squares):
    from byav_core.training.mixture import collate

    full, fewer = (encoders.example(squares.sample(2, seed)) for seed in (0, 1))
    together = collate((full, fewer), (False, False), encoders.models.text(""))
    assert together.speech.shape[1] == 2
    step = TrainingStep(encoders.models.network, STAGE_2, encoders.models.config.schedule)
    with torch.no_grad():
        louder = replace(together, speech=together.speech.clone())
        louder.speech[1, 1] += 5
        assert step(together, seeded())["total"] == step(louder, seeded())["total"]
    assert isinstance(encoders.stage(squares.sample(2, 1)).matrix, AudioCharacterMatrix)
