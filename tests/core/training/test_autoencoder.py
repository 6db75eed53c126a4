"""The video autoencoder learns: the linear part at once and as well as any, then what a mouth needs."""

from dataclasses import replace

import pytest
import torch
from einops import rearrange

from byav_core.config import PatchAutoencoderConfig
from byav_core.encoders.patch_autoencoder import PatchAutoencoder
from byav_core.synthetic import WorldSpec
from byav_core.training.autoencoder import (
    AutoencoderTraining,
    Clips,
    draw_clips,
    fit_linear,
    importance,
    learn_video,
    measure,
    train_refinement,
)

CONFIG = PatchAutoencoderConfig(
    latent_channels=7,
    patch=4,
    temporal_compression_ratio=2,
    width=8,
    depth=1,
    fold=2,
    sample_height=16,
    sample_width=24,
)
SPEC = WorldSpec(height=16, width=24, frames=5, people=(1, 2))
BRIEF = AutoencoderTraining(
    fitted=6, scenes=6, test=2, frames=3, batch=4, steps=120, noise=0.1, workers=0, learning_rate=1e-2
)
MOUTH = (0.85, 0.1, 0.1)


@pytest.fixture(scope="module")
def clips():
    """With something in every other frame that is a mouth for sure."""
    drawn = draw_clips(SPEC, BRIEF.scenes, 0, lambda line: None)
    drawn.frames[:, ::2, :, 5, 6:8] = (torch.tensor(MOUTH) * 255).byte()[:, None]
    return drawn


@pytest.fixture
def module():
    torch.manual_seed(0)
    return PatchAutoencoder(CONFIG)


def weighted_error(module: PatchAutoencoder, clips: Clips, training: AutoencoderTraining, turn=None) -> float:
    """Of patches, after `turn`, an orthogonal map of their values, is laid around the compression; as the fit sees it:
    each patch with its mean importance."""
    pixels = clips.pixels(slice(None))
    weight = module.patches(importance(pixels, clips.cover(slice(None)), training)).mean(dim=-1, keepdim=True)
    values, turn = module.patches(pixels), torch.eye(module.analysis.in_features) if turn is None else turn
    centred = values - module.synthesis.bias
    latents = centred @ turn @ module.analysis.weight.T
    error = centred - latents @ module.synthesis.weight.T @ turn.T
    return float((weight * error.square()).mean())


@torch.no_grad()
@pytest.mark.parametrize("whitening", [0.0, 0.5, 1.0])
def test_no_other_linear_map_through_as_many_channels_comes_nearer(module, clips, whitening):
    training = replace(BRIEF, whitening=whitening)
    fit_linear(module, clips, training)
    fitted, random = weighted_error(module, clips, training), torch.Generator().manual_seed(0)
    for size in (0.03, 0.3, 3.0, 100.0):
        axes = torch.randn(module.analysis.in_features, module.analysis.in_features, generator=random)
        turn = torch.matrix_exp(size / len(axes) ** 0.5 * (axes - axes.T))
        assert weighted_error(module, clips, training, turn) > fitted


@torch.no_grad()
def test_what_leads_to_latents_and_back_are_inverse(module, clips):
    fit_linear(module, clips, BRIEF)
    round_trip = module.analysis.weight @ module.synthesis.weight
    torch.testing.assert_close(round_trip, torch.eye(CONFIG.latent_channels), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(module.analysis(module.synthesis.bias), torch.zeros(7), atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_whitened_latents_all_vary_alike(module, clips):
    plain = replace(BRIEF, mouths=0.0, people=0.0, whitening=1.0)
    fit_linear(module, clips, plain)
    latents = module.encode(clips.pixels(slice(None))).latent_dist.mean
    assert rearrange(latents, "b c t h w -> c (b t h w)").std(dim=1).sub(1).abs().max() < 0.05


def test_a_pixel_of_a_mouth_counts_most_and_one_of_a_person_more_than_the_background():
    pixels, people = torch.full((1, 3, 1, 2, 3), 0.2), torch.zeros(1, 1, 1, 2, 3)
    pixels[0, :, 0, 0, 0] = torch.tensor(MOUTH) * 2 - 1
    people[..., :2] = 1
    weight = importance(pixels, people, BRIEF)[0, :, 0]
    assert torch.equal(weight[:, 0, 0], torch.full((3,), 1 + BRIEF.mouths + BRIEF.people))
    assert torch.equal(weight[:, 1, 1], torch.full((3,), 1 + BRIEF.people))
    assert torch.equal(weight[:, 1, 2], torch.ones(3))


@torch.no_grad()
def test_what_counts_more_is_kept_better(module, clips):
    errors = []
    for mouths in (0.0, 1000.0):
        fit_linear(module, clips, replace(BRIEF, mouths=mouths))
        only_mouths = AutoencoderTraining(mouths=1e6, people=0.0)
        errors.append(weighted_error(module, clips, only_mouths))
    assert errors[1] < errors[0]


def test_the_refinement_learns_and_leaves_the_linear_part_as_it_is(module, clips):
    fit_linear(module, clips, BRIEF)
    before = {name: x.clone() for name, x in module.state_dict().items() if not name.startswith("refinement")}
    losses = list(train_refinement(module, clips, BRIEF))
    assert len(losses) == BRIEF.steps and sum(losses[-8:]) < 0.92 * sum(losses[:8])
    assert all(torch.equal(module.state_dict()[name], x) for name, x in before.items())


def test_learning_again_gives_the_same_weights_and_says_how_good_they_are():
    brief, said = replace(BRIEF, steps=3), []
    (one, scores), (other, _) = learn_video(CONFIG, SPEC, brief, said.append), learn_video(CONFIG, SPEC, brief)
    assert all(torch.equal(one.state_dict()[name], x) for name, x in other.state_dict().items())
    assert set(scores) == {"psnr", "psnr of people", "mouths"} and scores["psnr"] > 5
    assert said[-1].startswith("step 3 of 3: loss ")


def test_a_perfect_reconstruction_scores_without_end(clips):
    """As many channels as values lose nothing."""
    whole = PatchAutoencoder(replace(CONFIG, latent_channels=3 * 2 * 4 * 4))
    with torch.no_grad():
        whole.analysis.weight.copy_(torch.eye(96)), whole.synthesis.weight.copy_(torch.eye(96))
        whole.analysis.bias.zero_(), whole.synthesis.bias.zero_()
    scores = measure(whole, clips)
    assert scores["psnr"] > 100 and scores["psnr of people"] > 100
    assert scores["mouths"] == pytest.approx(1, abs=1e-4)
