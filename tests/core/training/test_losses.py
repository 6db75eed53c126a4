"""Each equation by its laws; and what the released training code does wrong does not happen here."""

import pytest
import torch
from torch.autograd import gradcheck

from byav_core.config import ScheduleConfig
from byav_core.sampling.schedule import signal_shares
from byav_core.training.losses import (
    agreement_loss,
    denoising_loss,
    dynamic_mask,
    intersection_over_union,
    noised,
    predicted_masks,
    routing_loss,
    smoothness_loss,
    velocity,
)
from byav_core.types import TokenGrid

GRID = TokenGrid(3, 2, 5)
ROWS, CHARACTERS, LAYERS, CHANNELS, PATCH = 2, 3, 4, 7, 2


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def latents(seed):
    return drawn(ROWS, GRID.t, CHANNELS, GRID.h * PATCH, GRID.w * PATCH, seed=seed)


def logits(seed=0):
    return tuple(drawn(ROWS, CHARACTERS + 1, GRID.tokens, seed=seed + layer) for layer in range(LAYERS))


def true_masks():
    return drawn(ROWS, CHARACTERS + 1, GRID.tokens, seed=9).softmax(dim=1)[:, :-1]


@pytest.fixture
def signal():
    return signal_shares(ScheduleConfig()).double()


# eq. 1 ---------------------------------------------------------------------------------------------------------------


def test_the_velocity_loss_is_cogvideox_weighted_loss_of_the_clean_latents(signal):
    clean, noise, predicted = latents(1), latents(2), latents(3)
    a = signal[torch.tensor([200, 800])]
    z, shape = noised(clean, noise, a), (-1, 1, 1, 1, 1)
    believed = a.sqrt().view(shape) * z - (1 - a).sqrt().view(shape) * predicted
    cogvideox = ((believed - clean).square() / (1 - a).view(shape)).mean()
    torch.testing.assert_close(denoising_loss(predicted, velocity(clean, noise, a)), cogvideox)


def test_noise_and_velocity_are_those_of_the_solvers_library():
    from diffusers import CogVideoXDDIMScheduler

    config = ScheduleConfig()
    library = CogVideoXDDIMScheduler(**vars(config))
    clean, noise, steps = latents(1).float(), latents(2).float(), torch.tensor([3, 700])
    a = signal_shares(config)[steps]
    torch.testing.assert_close(noised(clean, noise, a), library.add_noise(clean, noise, steps))
    torch.testing.assert_close(velocity(clean, noise, a), library.get_velocity(clean, noise, steps))


def test_at_the_last_step_there_is_no_video_left_in_the_noise(signal):
    clean, noise = latents(1), latents(2)
    a = signal[[-1, -1]]
    assert torch.equal(noised(clean, noise, a), noise) and torch.equal(velocity(clean, noise, a), -clean)


def test_a_perfect_prediction_costs_nothing(signal):
    true = velocity(latents(1), latents(2), signal[[5, 999]])
    assert denoising_loss(true, true) == 0


# dynamic mask --------------------------------------------------------------------------------------------------------


def test_in_a_chosen_row_only_the_faces_count():
    focus = torch.zeros(ROWS, GRID.t, GRID.h, GRID.w)
    focus[0, :, 0, 2] = 1
    weight = dynamic_mask(focus, torch.tensor([True, True]), PATCH)
    true = torch.zeros(ROWS, GRID.t, CHANNELS, GRID.h * PATCH, GRID.w * PATCH)
    off = true.clone()
    off[0, ..., :PATCH, 2 * PATCH : 3 * PATCH] = 1
    assert denoising_loss(off[:1], true[:1], weight[:1]) == 1
    assert denoising_loss(1 - off[:1], true[:1], weight[:1]) == 0


def test_rows_not_chosen_and_rows_without_anybody_count_everywhere():
    focus = torch.zeros(ROWS, GRID.t, GRID.h, GRID.w)
    focus[0, 0, 0, 0] = 1
    weight = dynamic_mask(focus, torch.tensor([False, True]), PATCH)
    assert (weight == 1).all()
    a, b = latents(1), latents(2)
    torch.testing.assert_close(denoising_loss(a, b, weight.double()), denoising_loss(a, b))


def test_where_somebody_was_before_does_not_count_now():
    """The released code takes the union over time."""
    focus = torch.zeros(1, GRID.t, GRID.h, GRID.w)
    for t in range(GRID.t):
        focus[0, t, 0, t] = 1
    weight = dynamic_mask(focus, torch.tensor([True]), PATCH)
    for t in range(GRID.t):
        assert weight[0, t, 0, :PATCH, t * PATCH : (t + 1) * PATCH].all() and weight[0, t].sum() == PATCH**2


# eq. 2 ---------------------------------------------------------------------------------------------------------------


def test_certainty_about_the_truth_costs_nothing_and_no_idea_the_logarithm_of_the_classes():
    owner = torch.randint(CHARACTERS + 1, (ROWS, GRID.tokens), generator=torch.Generator().manual_seed(1))
    classes = torch.nn.functional.one_hot(owner, CHARACTERS + 1).mT.double()
    assert routing_loss([1000 * classes], classes[:, :-1]) == 0
    no_idea = routing_loss([torch.zeros_like(classes)], classes[:, :-1])
    torch.testing.assert_close(no_idea, torch.tensor(CHARACTERS + 1.0).double().log())


def test_the_background_is_a_class_of_its_own():
    nobody = torch.zeros(1, CHARACTERS, GRID.tokens)
    says_nobody = torch.zeros(1, CHARACTERS + 1, GRID.tokens)
    says_nobody[:, -1] = 50
    assert routing_loss([says_nobody], nobody) < 1e-6 < routing_loss([-says_nobody], nobody)


def test_of_two_equal_characters_it_does_not_matter_which_one_has_the_mask():
    """In clips whose one character is copied; the weights that both copies share are taught the same."""
    x = drawn(1, 1, GRID.tokens).requires_grad_()
    nobody, mask = drawn(1, 1, GRID.tokens, seed=1), (drawn(1, 1, GRID.tokens, seed=2) > 0).double()
    shared = routing_loss([torch.cat([x, x, nobody], dim=1)], torch.cat([mask / 2, mask / 2], dim=1))
    one = routing_loss([torch.cat([x, x, nobody], dim=1)], torch.cat([mask, 0 * mask], dim=1))
    torch.testing.assert_close(*(torch.autograd.grad(loss, x)[0] for loss in (shared, one)))
    torch.testing.assert_close(one, shared)


# eq. 3 and 4 ---------------------------------------------------------------------------------------------------------


def test_a_constant_mask_has_no_gradient_in_space_and_time():
    assert smoothness_loss([torch.full((ROWS, CHARACTERS, GRID.tokens), 0.3)] * LAYERS, GRID) == 0


@pytest.mark.parametrize("axis, length", [(2, GRID.t), (3, GRID.h), (4, GRID.w)])
def test_a_ramp_along_an_axis_costs_its_slope(axis, length):
    shape = [1] * 5
    shape[axis] = length
    ramp = torch.arange(length).view(shape).expand(ROWS, CHARACTERS, GRID.t, GRID.h, GRID.w) / 10
    torch.testing.assert_close(smoothness_loss([GRID.flatten(ramp)], GRID), torch.tensor(0.1))


def test_rows_and_columns_are_not_mixed_up():
    """The released code folds tokens with the axes exchanged, so that what is left and right looks like stripes."""
    left = torch.zeros(1, 1, GRID.t, GRID.h, GRID.w)
    left[..., :2] = 1
    one_edge_in_each_row = 1 / (GRID.w - 1)
    torch.testing.assert_close(smoothness_loss([GRID.flatten(left)], GRID), torch.tensor(one_edge_in_each_row))


def test_a_clip_of_one_frame_has_no_gradient_in_time():
    assert torch.isfinite(smoothness_loss([torch.rand(1, 1, 10)], TokenGrid(1, 2, 5)))


def test_layers_that_agree_cost_nothing():
    assert agreement_loss([true_masks()] * LAYERS) == 0
    assert agreement_loss([true_masks()]) == 0


def test_layers_apart_cost_their_variance():
    a = torch.zeros(ROWS, CHARACTERS, GRID.tokens)
    assert agreement_loss([a, a + 1]) == 0.25


# gradients -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss",
    [
        lambda *x: routing_loss(x, true_masks()[:1]),
        lambda *x: smoothness_loss(predicted_masks(x), GRID),
        lambda *x: agreement_loss(predicted_masks(x)),
    ],
    ids=["eq. 2", "eq. 3", "eq. 4"],
)
def test_gradients_are_those_of_finite_differences(loss):
    small = tuple(layer[:1].requires_grad_() for layer in logits()[:2])
    assert gradcheck(loss, small)


def test_the_gradient_of_the_denoising_loss_is_that_of_finite_differences():
    true, weight = latents(2)[:1, :2, :2], drawn(1, 2, 1, 4, 10).abs()
    predicted = latents(1)[:1, :2, :2].requires_grad_()
    assert gradcheck(lambda x: denoising_loss(x, true, weight), predicted)


# what is logged ------------------------------------------------------------------------------------------------------


def test_intersection_over_union_of_halves_that_share_a_third():
    found, true = torch.zeros(1, 2, 6), torch.zeros(1, 2, 6)
    found[0, 0, :4], true[0, 0, 2:] = 1, 1
    assert intersection_over_union(found, true).tolist() == [[pytest.approx(1 / 3), 1.0]]
