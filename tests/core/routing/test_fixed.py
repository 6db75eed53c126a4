from dataclasses import replace

import pytest
import torch

from byav_core.config import tiny
from byav_core.routing import FixedMask, FixedRouter, IntraDenoiseRouter, TeacherForced
from byav_core.routing.rasterize import released, soft
from byav_core.types import TokenGrid


def test_one_row_of_masks_serves_every_row_of_a_batch_at_every_layer(ask, grid):
    mask = torch.rand(1, 2, grid.tokens)
    source = FixedMask(mask)
    for layer in (0, 5):
        assert torch.equal(ask(source, grid, n=2, b=3, layer=layer).mask, mask.expand(3, -1, -1))
    assert ask(source, grid, n=2).logits is None


def test_masks_follow_the_queries_in_kind_and_keep_their_own_precision(grid):
    source = FixedMask(torch.full((1, 2, grid.tokens), 1 / 3))
    q, k = torch.zeros(1, 2, grid.tokens, 5), torch.zeros(1, 2, 2, 7, 5)
    assert source(0, q.bfloat16(), k.bfloat16()).mask.dtype == torch.bfloat16
    assert source(0, q, k).mask[0, 0, 0] == torch.tensor(1 / 3)


@pytest.mark.parametrize("value, span", [(float("nan"), "NaN"), (1.5, "0 to 1.5"), (-1.0, "-1 to 0")])
def test_values_that_are_no_mask_are_refused(grid, value, span):
    mask = torch.zeros(1, 2, grid.tokens)
    mask[0, 1, 7] = value
    with pytest.raises(ValueError, match=f"numbers in 0..1, but span {span}"):
        FixedMask(mask)


def test_a_plan_for_others_is_refused_with_both_numbers(ask, grid):
    source = FixedMask(torch.zeros(1, 2, grid.tokens))
    with pytest.raises(ValueError, match="2 characters and 72 tokens do not fit 3 characters and 72 tokens"):
        ask(source, grid, n=3)
    with pytest.raises(ValueError, match="72 tokens do not fit 2 characters and 24 tokens"):
        ask(source, TokenGrid(1, 4, 6), n=2)


def test_given_masks_reach_the_tokens(ask, scene, halves):
    source = FixedRouter().plan(replace(scene, given=halves))
    folded = scene.grid.fold(ask(source, scene.grid, n=2).mask)
    assert (folded[0, 0, ..., :3] == 1).all() and (folded[0, 1, ..., 3:] == 1).all()
    assert folded.sum() == scene.grid.tokens


@pytest.mark.parametrize("rule, columns", [(soft, [[0], [0, 1], [1]]), (released, [[0, 1], [0, 1], [0, 1]])])
def test_a_moving_mask_moves_and_by_the_released_rule_it_stands(ask, scene, rule, columns):
    moving = torch.zeros(2, 9, 64, 96)
    moving[0, :3, :, :16] = moving[0, 3:, :, 16:32] = moving[1, :, :, 80:] = 1
    source = FixedRouter(rule).plan(replace(scene, given=moving))
    owned = scene.grid.fold(ask(source, scene.grid, n=2).mask)[0, 0].amax(dim=1)
    assert [frame.nonzero().flatten().tolist() for frame in owned] == columns


def test_without_masks_it_says_whose_are_missing(scene):
    with pytest.raises(ValueError, match=r"a mask for each character \(Anna, Ben\)"):
        FixedRouter().plan(scene)


@pytest.mark.parametrize("count", [1, 3])
def test_masks_for_somebody_who_is_not_there_are_refused(scene, count):
    given = torch.ones(count, 1, 64, 96)
    with pytest.raises(ValueError, match=rf"{count} masks for 2 characters \(Anna, Ben\)"):
        FixedRouter().plan(replace(scene, given=given))


def test_an_empty_mask_names_the_character(scene, halves):
    halves[1] = 0
    with pytest.raises(ValueError, match="the mask of Ben is empty on the 6x4 token grid"):
        FixedRouter().plan(replace(scene, given=halves))


def test_a_mask_that_vanishes_between_the_tokens_is_empty(scene, halves):
    halves[0] = 0
    halves[0, :, 5, 5] = 1
    with pytest.raises(ValueError, match="the mask of Anna is empty"):
        FixedRouter().plan(replace(scene, given=halves))


def test_somebody_may_be_out_of_the_picture_for_a_while(scene, halves):
    masks = halves.repeat(1, 9, 1, 1)
    masks[1, 3:] = 0
    FixedRouter().plan(replace(scene, given=masks))


def test_two_characters_in_one_place_are_warned_of(scene, halves):
    twice = halves[:1].expand(2, -1, -1, -1)
    with pytest.warns(UserWarning, match="the masks of Anna and Ben overlap by 100%"):
        FixedRouter().plan(replace(scene, given=twice))


def test_shoulders_that_touch_are_nothing_to_warn_of(scene, halves, recwarn):
    halves[0, ..., :64] = 1
    FixedRouter().plan(replace(scene, given=halves))
    assert not recwarn.list


def test_a_mask_of_nan_names_the_character(scene, halves):
    halves[1, 0, 3, 3] = float("nan")
    with pytest.raises(ValueError, match="the mask of Ben should hold numbers in 0..1, but spans NaN"):
        FixedRouter().plan(replace(scene, given=halves))


def teacher(head, target, dropout=0.3, noise=0.2, seed=1) -> TeacherForced:
    return TeacherForced(head, target, dropout, noise, torch.Generator().manual_seed(seed))


@pytest.fixture
def target(grid) -> torch.Tensor:
    return (torch.rand(2, 3, grid.tokens, generator=torch.Generator().manual_seed(5)) > 0.5).float()


@pytest.fixture
def head(scene):
    torch.manual_seed(2)
    return IntraDenoiseRouter(tiny().router, face_layers=2).plan(scene)


def query_and_key(grid):
    torch.manual_seed(3)
    q, k = torch.randn(2, 4, grid.tokens, 24), torch.randn(2, 3, 4, 8, 24)
    return q.requires_grad_(), k.requires_grad_()


def test_teacher_forcing_injects_the_truth_and_asks_the_head(head, target, grid):
    q, k = query_and_key(grid)
    routed = teacher(head, target, dropout=0.0, noise=0.0)(1, q, k)
    assert torch.equal(routed.mask, target)
    assert torch.equal(routed.logits, head(1, q, k).logits)


def test_teacher_forcing_trains_the_head_and_not_what_lies_before_it(head, target, grid):
    q, k = query_and_key(grid)
    routed = teacher(head, target)(0, q, k)
    assert not routed.mask.requires_grad
    routed.logits.square().mean().backward()
    assert q.grad is None and k.grad is None
    assert head.router.to_q[0].weight.grad.abs().sum() > 0


def test_disturbance_leaves_the_target_alone_and_masks_in_range(head, target, grid):
    q, k = query_and_key(grid)
    before = target.clone()
    mask = teacher(head, target)(0, q, k).mask
    assert torch.equal(target, before)
    assert mask.min() >= 0 and mask.max() <= 1 and not torch.equal(mask, target)


def test_dropout_takes_its_share_and_noise_has_its_width(head):
    ones, halves = torch.ones(1, 2, 20_000), torch.full((1, 2, 20_000), 0.5)
    dropped = teacher(head, ones, dropout=0.3, noise=0.0).disturbed()
    assert dropped.unique().tolist() == [0, 1] and dropped.mean() == pytest.approx(0.7, abs=0.01)
    noisy = teacher(head, halves, dropout=0.0, noise=0.1).disturbed()
    assert noisy.mean() == pytest.approx(0.5, abs=0.01) and noisy.std() == pytest.approx(0.1, abs=0.01)


def test_a_layer_run_again_meets_the_same_mask_and_another_layer_another(head, target, grid):
    q, k = query_and_key(grid)
    source = teacher(head, target)
    first, other, again = (source(layer, q, k).mask for layer in (0, 1, 0))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(first, teacher(head, target)(0, q, k).mask)
    assert not torch.equal(first, teacher(head, target, seed=9)(0, q, k).mask)
