"""Laws of what is measured on masks, and of masks made from the true ones."""

import pytest
import torch

from byav_core.benchmark.masks import MADE_BY_HAND, Watched, boxes, flicker, from_left, iou, without_background
from byav_core.routing.uniform import uniform_masks
from byav_core.types import Routed, TokenGrid

GRID = TokenGrid(2, 3, 5)


def block(*columns, frames=2):
    """One character who owns whole columns of five."""
    mask = torch.zeros(1, frames, 3, 5)
    mask[..., list(columns)] = 1
    return mask


def test_a_mask_overlaps_with_itself_wholly_and_with_another_in_part():
    assert iou(block(0, 1), block(0, 1)) == [1.0]
    assert iou(block(0, 1), block(1, 2)) == [pytest.approx(1 / 3)]
    assert iou(block(), block(1)) == [0.0]


def test_who_is_nowhere_is_not_asked_for():
    assert iou(torch.cat([block(0), block(1)]), torch.cat([block(0), block()])) == [1.0]


def test_a_still_mask_does_not_flicker_and_a_jumping_one_does():
    assert flicker(block(0, 1)) == [0.0]
    jumping = torch.cat([block(0, frames=1), block(3, frames=1)], dim=1)
    assert flicker(jumping) == [2.0]


def test_characters_are_ordered_by_where_they_begin():
    assert from_left(torch.cat([block(4), block(0), block(2)])) == [1, 2, 0]


def test_a_box_holds_the_mask_and_is_full():
    mask = torch.zeros(1, 1, 4, 6)
    mask[0, 0, 1, 1] = mask[0, 0, 3, 4] = 1
    expected = torch.zeros(1, 1, 4, 6)
    expected[0, 0, 1:4, 1:5] = 1
    assert torch.equal(boxes(mask), expected)
    assert torch.equal(boxes(torch.zeros(1, 2, 4, 6)), torch.zeros(1, 2, 4, 6))


def test_masks_by_hand_are_fine_boxed_still_or_united():
    moving = torch.cat([block(0, frames=1), block(3, frames=1)], dim=1)
    assert torch.equal(MADE_BY_HAND["fine"](moving), moving)
    assert torch.equal(MADE_BY_HAND["first frame"](moving), block(0, frames=1))
    assert torch.equal(MADE_BY_HAND["union"](moving), block(0, 3, frames=1))


def test_without_a_background_the_softmax_is_over_the_characters():
    scores = torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(0))
    mask = without_background(scores.softmax(dim=1)[:, :-1], TokenGrid(1, 2, 3))
    torch.testing.assert_close(mask, scores[:, :-1].softmax(dim=1))


def test_watching_changes_nothing_and_remembers_the_last_mask_of_each_layer():
    def source(layer, q, k):
        return Routed(torch.full((len(q), k.shape[1], q.shape[2]), 0.1 * layer + 0.01 * float(q[0, 0, 0, 0])))

    watched, k = Watched(source, GRID), torch.zeros(1, 4, 1, 2, 3)
    for turn in (1.0, 2.0):
        for layer in (0, 1, 2):
            q = torch.full((2, 1, GRID.tokens, 3), turn)
            assert torch.equal(watched(layer, q, k).mask, source(layer, q, k).mask)
    taken = watched.take()
    assert taken.shape == (3, 4, 2, 3, 5)
    assert torch.allclose(taken[:, 0, 0, 0, 0], torch.tensor([0.02, 0.12, 0.22]))


def test_uniform_masks_own_nothing():
    routed = uniform_masks(0, torch.zeros(1, 1, GRID.tokens, 3), torch.zeros(1, 2, 1, 2, 3))
    assert iou(GRID.fold(routed.mask)[0], torch.cat([block(0), block(1)])) == [0.0, 0.0]
