import contextlib
import json

import pytest
import torch
from safetensors.torch import load_file

from byav_core.config import ScheduleConfig
from byav_core.model.transformer import BindYourAvatarTransformer
from byav_core.sampling.guidance import Conditions, Joint, Separate, passes_per_step
from byav_core.sampling.latents import LatentInput
from byav_core.sampling.sampler import cancellable, denoise
from byav_core.sampling.schedule import make_solver
from byav_core.types import Routed, TokenGrid

STEPS = 3
RELEASED_SCALE = 7.0  # not in the recording; follows from its first step, where x0 = -v


class Replay(BindYourAvatarTransformer):
    """Stands in for the transformer: answers with recorded velocities, remembers what it was shown."""

    def __init__(self, answers, face_layers=2, characters=2):
        torch.nn.Module.__init__(self)
        self.transformer_blocks = torch.nn.ModuleList(torch.nn.Identity() for _ in range(3))
        self.answers, self.face_layers, self.characters = list(answers), face_layers, characters
        self.shown, self.names, self.projected, self.texts, self.resets = [], [], [], [], 0

    def project_faces(self, characters):
        self.projected.append("faces")
        return ()

    def project_speech(self, speech):
        self.projected.append("speech")
        return ()

    @contextlib.contextmanager
    def cache_context(self, name):
        self.names.append(name)
        yield

    def _reset_stateful_cache(self):
        self.resets += 1

    def grid(self, latents):
        return TokenGrid(latents.shape[1], latents.shape[-2] // 2, latents.shape[-1] // 2)

    def forward(self, hidden_states, encoder_hidden_states, timestep, binding, masks):
        for block in self.transformer_blocks:
            block(hidden_states)
        self.shown.append(hidden_states)
        self.texts.append(encoder_hidden_states)
        tokens = self.grid(hidden_states).tokens
        layers = [torch.full((1, self.characters, tokens), 0.25 + 0.5 * layer) for layer in range(self.face_layers)]
        return self.answers.pop(0), tuple(Routed(mask) for mask in layers)


def unasked(layer, q, k):
    raise AssertionError("the recorded network asks no masks")


def conditions(m=2, n=2):
    return Conditions(
        prompt=torch.ones(1, 6, 12),
        negative=torch.zeros(1, 6, 12),
        characters=torch.zeros(1, n, 8, 32),
        speech=torch.ones(1, m, 3, 4, 12),
        no_speech=torch.zeros(1, m, 3, 4, 12),
        audio_to_character=torch.eye(m, n)[None],
    )


def start(seed=0):
    generator = torch.Generator().manual_seed(seed)
    noise, still = torch.randn(1, 3, 4, 8, 14, generator=generator), torch.zeros(1, 3, 4, 8, 14)
    return LatentInput(noise, still, still)


def run(transformer, guidance=None, steps=STEPS, solver="ddim", **options):
    guidance = guidance or Joint(1.0)
    solver = make_solver(solver, ScheduleConfig(), steps)
    return denoise(transformer, start(), conditions(), passes_per_step(guidance, steps), unasked, solver, **options)


def answers(count, seed=7):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 3, 4, 8, 14, generator=generator) for _ in range(count)]


@pytest.fixture(scope="module")
def released(vectors):
    config = json.loads((vectors / "tiny_pipeline.config.json").read_text())
    return config, load_file(vectors / "tiny_pipeline.outputs.safetensors")


@pytest.mark.parametrize("run_name", ["P1_inpaint_router", "P2_no_inpaint", "P3_forced"])
def test_recorded_predictions_and_noises_give_the_released_latents(released, monkeypatch, run_name):
    config, recorded = released
    of = {key.removeprefix(run_name + "."): value for key, value in recorded.items() if key.startswith(run_name)}
    noises = [of[f"sde_noise{i}"] for i in range(4)]
    monkeypatch.setattr("diffusers.schedulers.scheduling_dpm_cogvideox.randn_tensor", lambda *_, **__: noises.pop(0))
    halves = [of[f"noise_pred_raw_step{i}"] for i in range(STEPS)]
    transformer = Replay([half for both in halves for half in both[:, None]])
    first = of["model_input_step0"][1:]
    shown = LatentInput(first[:, :, :4], first[:, :, 4:8], first[:, :, 8:])
    latents = []

    done = denoise(
        transformer,
        shown,
        conditions(),
        passes_per_step(Joint(RELEASED_SCALE), STEPS),
        unasked,
        make_solver("dpm", ScheduleConfig(), STEPS),
        on_step=lambda report: latents.append(report.latents),
    )

    assert not noises, "each recorded noise is drawn once"
    assert torch.equal(transformer.shown[0], of["model_input_step0"][:1])
    for i, ours in enumerate(latents):
        close(ours, of[f"latents_after_step{i}"])
    close(done.latents, of["latents_after_step2"])


def close(ours, theirs, tolerance=1e-5):
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


def test_faces_are_projected_once_and_speech_twice_before_the_first_step():
    transformer = Replay(answers(6))
    order = []
    transformer.register_forward_pre_hook(lambda *_: order.append(len(transformer.projected)))
    run(transformer, Joint(7.0))
    assert transformer.projected == ["faces", "speech", "speech"]
    assert order == [3] * 6


def test_passes_run_one_by_one_under_names_that_do_not_change():
    transformer = Replay(answers(9))
    run(transformer, Separate(5.0, 4.0))
    assert transformer.names == ["uncond", "no_text", "cond"] * STEPS
    assert all(len(shown) == 1 for shown in transformer.shown)


def test_all_passes_of_a_step_see_the_same_latents():
    transformer = Replay(answers(6))
    run(transformer, Joint(7.0))
    for first, second in zip(transformer.shown[::2], transformer.shown[1::2], strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(transformer.shown[0], transformer.shown[2])


def test_joint_guidance_leads_away_from_the_dropped_prompt():
    apart = answers(2 * STEPS)
    joint = run(Replay(apart), Joint(3.0))
    mixed = run(Replay([u + 3.0 * (c - u) for u, c in zip(apart[::2], apart[1::2], strict=True)]))
    torch.testing.assert_close(joint.latents, mixed.latents, atol=1e-5, rtol=1e-5)


def test_latents_stay_float32_when_the_network_computes_in_half_precision():
    transformer = Replay([answer.bfloat16() for answer in answers(STEPS)])
    told = conditions()
    told = Conditions(**{name: value.bfloat16() for name, value in vars(told).items() if value is not None})
    done = denoise(
        transformer, start(), told, passes_per_step(Joint(1.0), STEPS), unasked, make_solver("dpm", ScheduleConfig(), 3)
    )
    assert transformer.shown[0].dtype == torch.bfloat16
    assert done.latents.dtype == torch.float32


def test_every_step_is_reported_with_latents_and_masks_on_the_grid():
    reports = []
    run(Replay(answers(STEPS)), on_step=reports.append)
    assert [(report.step, report.steps) for report in reports] == [(1, 3), (2, 3), (3, 3)]
    assert all(report.masks.shape == (2, 3, 4, 7) for report in reports)


def test_masks_shown_are_the_mean_over_face_layers():
    assert run(Replay(answers(STEPS), face_layers=2)).masks.unique().tolist() == [0.5]


def test_masks_of_the_step_before_stay_when_a_step_cache_skips_every_face_layer():
    transformer = Replay(answers(STEPS))
    transformer.register_forward_hook(lambda module, *_: setattr(module, "face_layers", 0))
    assert run(transformer).masks.shape == (2, 3, 4, 7)


def test_stopping_early_gives_the_clean_latents_foreseen_then():
    reports, steps = [], 5
    stopped = run(Replay(answers(5)), steps=steps, stop_at_step=2)
    run(Replay(answers(5)), steps=steps, on_step=reports.append)
    assert stopped.steps_done == 2
    assert torch.equal(stopped.latents, reports[1].clean)
    assert not torch.equal(stopped.latents, reports[1].latents)


@pytest.mark.parametrize("solver", ["dpm", "ddim"])
@pytest.mark.parametrize("steps", [1, 4, 7])
def test_a_whole_run_ends_in_clean_latents_whatever_the_number_of_steps(solver, steps):
    velocity_to = answers(1)[0]
    transformer = ToTarget(velocity_to, make_solver(solver, ScheduleConfig(), steps))
    done = run(transformer, steps=steps, solver=solver, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(done.latents, velocity_to, atol=1e-4, rtol=1e-4)


class ToTarget(Replay):
    """Always believes in the same clean latents x0, and answers with the velocity that says so."""

    def __init__(self, target, solver):
        super().__init__([])
        self.target, self.alphas = target, solver.scheduler.alphas_cumprod

    def forward(self, hidden_states, encoder_hidden_states, timestep, binding, masks):
        alpha = self.alphas[int(timestep)]
        latents = hidden_states[:, :, :4]
        self.answers = [(alpha**0.5 * latents - self.target) / (1 - alpha) ** 0.5]
        return super().forward(hidden_states, encoder_hidden_states, timestep, binding, masks)


@pytest.mark.parametrize("solver", ["dpm", "ddim"])
def test_the_same_seed_gives_the_same_latents(solver):
    def latents(seed):
        return run(Replay(answers(STEPS)), solver=solver, generator=torch.Generator().manual_seed(seed)).latents

    assert torch.equal(latents(1), latents(1))


@pytest.mark.parametrize("allowed", [0, 2, 4, 8])
def test_cancelling_stops_before_the_next_block_and_leaves_no_hooks(allowed):
    transformer, asked = Replay(answers(STEPS)), []

    def check():
        asked.append(1)
        if len(asked) > allowed:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run(transformer, check_cancelled=check)
    assert len(asked) == allowed + 1
    assert len(transformer.shown) == allowed // 3
    assert not any(block._forward_pre_hooks for block in transformer.transformer_blocks)


def test_step_caches_are_empty_before_a_run_and_after_one_cut_short():
    transformer = Replay(answers(STEPS))
    with pytest.raises(InterruptedError):
        run(transformer, on_step=lambda _: (_ for _ in ()).throw(InterruptedError))
    assert transformer.resets == 2


def test_hooks_are_removed_when_the_work_fails():
    module = torch.nn.Identity()
    with pytest.raises(KeyError), cancellable([module], lambda: None):
        raise KeyError
    assert not module._forward_pre_hooks


def test_latents_that_are_not_numbers_stop_the_run_with_a_sentence():
    broken = answers(STEPS)
    broken[1] = broken[1] * float("nan")
    with pytest.raises(FloatingPointError, match="step 2 of 3"):
        run(Replay(broken))
