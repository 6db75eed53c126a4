"""Films under every condition, by small untrained models: what is told, what is watched, what it costs."""

import pytest
import torch

from byav_core.benchmark.conditions import CONDITIONS, Condition
from byav_core.benchmark.film import Replayed
from byav_core.benchmark.scenes import held_out
from byav_core.benchmark.scores import score
from byav_core.pipeline import SamplingSettings, sample


@pytest.fixture(scope="module")
def staged(studio):
    kept = {}

    def of(kind):
        if kind not in kept:
            scene = held_out(kind, 3, studio.models.config)
            kept[kind] = (scene, studio.stage(scene))
        return kept[kind]

    return of


def test_every_condition_can_be_filmed_and_read(studio, staged):
    for told in {
        (told.filmed, told.router, told.masks, told.refinement): told for told in CONDITIONS.values()
    }.values():
        scene, ready = staged(told.scenes)
        film = studio.film(scene, ready, told, seed=1)
        found = score(film, scene, ready.scene.grid)
        assert found and all(one.n >= 0 for one in found.values())


def test_a_sampled_film_is_what_the_pipeline_samples(studio, staged):
    scene, ready = staged("everyday")
    told = Condition("", router="fixed", first_frame="clear")
    film = studio.film(scene, ready, told, seed=5)
    from byav_core.pipeline import condition, decode, plan_routing

    models = studio.models
    conditions = condition(models, ready.prompt, ready.cast, ready.streams, ready.matrix, ready.scene.clip)
    masks = plan_routing("fixed", models, ready.scene, ready.cast, masks=scene.sample.masks)
    settings = SamplingSettings(5, studio.steps, studio.scheduler, studio.guidance)
    assert torch.equal(film.frames, decode(models, sample(models, ready.scene, conditions, masks, settings).latents))


def test_each_step_is_looked_at_at_every_layer(studio, staged):
    scene, ready = staged("everyday")
    film = studio.film(scene, ready, CONDITIONS["intra"], seed=1)
    layers, grid = studio.models.config.transformer.face_layers, ready.scene.grid
    assert [tuple(look.shape) for look in film.looks] == [(layers, 2, grid.t, grid.h, grid.w)] * studio.steps


def test_passes_are_counted_with_the_first_pass_of_post_denoise(studio, staged):
    scene, ready = staged("everyday")
    passes = {name: studio.film(scene, ready, CONDITIONS[name], seed=1).passes for name in ("intra", "post")}
    assert passes["intra"] == 2 * studio.steps  # text unguided, speech guided
    assert passes["post"] == passes["intra"] + studio.steps
    assert studio.film(scene, ready, CONDITIONS["intra"], seed=1).seconds > 0


def test_a_matrix_of_a_condition_reaches_the_film(studio, staged):
    scene, ready = staged("everyday")
    own = scene.sample.audio_to_character
    told = {name: studio.film(scene, ready, CONDITIONS[name], seed=1) for name in ("intra", "intra, swapped")}
    assert torch.equal(told["intra"].matrix, own)
    assert torch.equal(told["intra, swapped"].matrix, own.flip(1))
    assert not torch.equal(told["intra"].frames, told["intra, swapped"].frames)
    muted = studio.film(scene, ready, CONDITIONS["intra, one muted"], seed=1).matrix
    assert (muted.sum(dim=0) == 0).sum() == 1
    one = studio.film(scene, ready, CONDITIONS["intra, one voice"], seed=1).matrix
    assert torch.equal(one.sum(dim=0), torch.ones(2)) and (one.sum(dim=1) == 0).any()


def test_noised_truth_ends_nearly_clean_and_begins_as_noise(studio):
    truth = torch.randn(1, 3, 8, 4, 6)
    noise = torch.randn_like(truth)
    replayed = Replayed(truth, noise, studio.models, SamplingSettings(steps=8))
    assert (replayed.noised(0) - noise).abs().max() < 0.2
    distances = [float((replayed.noised(step) - truth).abs().mean()) for step in range(8)]
    assert distances == sorted(distances, reverse=True)
    stepped = replayed.step(2, torch.zeros_like(truth), torch.zeros_like(truth), None)
    assert torch.equal(stepped.latents, replayed.noised(3))


def test_an_unknown_choice_is_named():
    with pytest.raises(ValueError, match="matrix 'mirrored' is unknown; choose one of own, swapped"):
        Condition("", matrix="mirrored")
