import time

import pytest
import torch

from byav_core.config import tiny
from byav_core.routing import FixedMask, IntraDenoiseRouter, LabelSpreading, Refined, RefinedRouter
from byav_core.types import Scene, TokenGrid

WIDE = TokenGrid(t=5, h=12, w=19)
refine = LabelSpreading()


@pytest.fixture
def clean() -> torch.Tensor:
    """A still box and a disc that drifts, on the wide grid."""
    masks = torch.zeros(1, 2, WIDE.t, WIDE.h, WIDE.w)
    row, column = torch.meshgrid(torch.arange(WIDE.h), torch.arange(WIDE.w), indexing="ij")
    masks[0, 0, :, 3:10, 2:7] = 1
    for t in range(WIDE.t):
        masks[0, 1, t] = (row - 6) ** 2 + (column - 13 - t / 2) ** 2 < 10
    return WIDE.flatten(masks)


def wrong(masks, truth) -> float:
    return (masks != truth).any(dim=1).float().mean().item()


def test_a_clean_mask_is_kept(clean):
    assert torch.equal(refine(clean, WIDE), clean)


def test_a_small_face_is_kept():
    masks = torch.zeros(1, 2, 5, 4, 6)
    masks[0, 0, :, 1:3, 1:3] = masks[0, 1, :, 1, 4] = 1
    grid = TokenGrid(5, 4, 6)
    assert torch.equal(refine(grid.flatten(masks), grid), grid.flatten(masks))


def test_salt_and_pepper_is_removed(clean):
    generator = torch.Generator().manual_seed(4)
    classes = torch.cat([clean, 1 - clean.sum(dim=1, keepdim=True)], dim=1).argmax(dim=1)
    struck = torch.rand(classes.shape, generator=generator) < 0.1
    classes = torch.where(struck, torch.randint(0, 3, classes.shape, generator=generator), classes)
    noisy = torch.nn.functional.one_hot(classes, 3).mT[:, :2].float()
    assert wrong(noisy, clean) > 0.05
    assert wrong(refine(noisy, WIDE), clean) < 0.01


def test_uncertain_tokens_take_the_label_of_the_certain_ones_around(clean):
    unsure = torch.rand(1, 1, WIDE.tokens, generator=torch.Generator().manual_seed(4)) < 0.4
    assert wrong(refine(torch.where(unsure, 0.34, clean), WIDE), clean) < 0.02


def test_a_frame_nobody_is_sure_of_is_filled_from_the_frames_around(clean):
    masks = WIDE.fold(clean).clone()
    masks[:, :, 2] = 0.3
    filled = WIDE.fold(refine(WIDE.flatten(masks), WIDE))
    assert (filled[:, 0, 2] == WIDE.fold(clean)[:, 0, 2]).all()


def test_far_from_everything_certain_is_background():
    masks = torch.full((1, 2, WIDE.t, WIDE.h, WIDE.w), 0.45)
    for i, column in ((0, 1), (1, 16)):
        masks[0, :, :, 4:8, column : column + 2] = 0.0
        masks[0, i, :, 4:8, column : column + 2] = 1.0
    refined = WIDE.fold(refine(WIDE.flatten(masks), WIDE))
    assert refined[..., 8:11].sum() == 0
    assert refined[0, 0, :, 4:8, 1:3].min() == 1 and refined[0, 1, :, 4:8, 16:18].min() == 1


def test_a_character_of_whom_nothing_is_certain_keeps_the_mask_it_came_with(clean):
    faint = clean * torch.tensor([1.0, 0.4])[:, None]
    refined = refine(faint, WIDE)
    assert torch.equal(refined[:, 1], faint[:, 1])
    assert torch.equal(refined[:, 0], clean[:, 0])


@pytest.mark.parametrize("n", [1, 2, 4])
def test_nobody_shares_more_than_a_whole_token(n):
    grid = TokenGrid(3, 5, 7)
    torch.manual_seed(n)
    for masks in (torch.randn(2, n + 1, grid.tokens).mul(3).softmax(dim=1)[:, :n], torch.rand(2, n, grid.tokens)):
        refined = refine(masks, grid)
        assert refined.shape == masks.shape and refined.min() >= 0
        assert refined.sum(dim=1).max() <= max(1.0, masks.sum(dim=1).max()) + 1e-6


def test_the_order_of_characters_does_not_matter(clean):
    noisy = (clean * 0.8 + 0.1 * torch.rand(clean.shape)).clamp(0, 1)
    assert torch.equal(refine(noisy.flip(1), WIDE), refine(noisy, WIDE).flip(1))


def test_rows_of_a_batch_do_not_touch(clean):
    both = torch.cat([clean, clean.flip(1)])
    assert torch.equal(refine(both, WIDE), torch.cat([refine(clean, WIDE), refine(clean.flip(1), WIDE)]))


def test_spreading_equals_scikit_learns():
    sklearn = pytest.importorskip("sklearn.semi_supervised")
    grid, ours = TokenGrid(3, 4, 5), LabelSpreading(confidence=0.45, rounds=300)
    torch.manual_seed(1)
    masks = torch.rand(1, 3, grid.tokens, dtype=torch.float64)
    labels = ours.confident(masks[:, :2] / masks.sum(dim=1, keepdim=True))
    known = torch.where(labels.sum(dim=1) > 0, labels.argmax(dim=1), -1)[0]
    assert 10 < (known < 0).sum() < 30

    reach = torch.tensor([ours.reach_in_time, ours.reach_in_space, ours.reach_in_space])
    places = torch.cartesian_prod(torch.arange(3), torch.arange(4), torch.arange(5)).double() / reach
    theirs = sklearn.LabelSpreading(kernel="rbf", gamma=0.5, alpha=ours.alpha, max_iter=3000, tol=1e-12)
    theirs.fit(places.numpy(), known.numpy())

    spread = grid.flatten(ours.spread(grid.fold(labels), grid))[0]
    shares = (spread / spread.sum(dim=0)).mT
    assert torch.allclose(shares, torch.from_numpy(theirs.label_distributions_), atol=1e-6)


def test_a_full_size_mask_takes_a_moment():
    grid = TokenGrid(13, 30, 45)
    masks = torch.randn(1, 3, grid.tokens).mul(3).softmax(dim=1)[:, :2]
    started = time.process_time()
    refine(masks, grid)
    assert time.process_time() - started < 2  # 0.02 s on one quiet core


def test_refinement_stays_off_the_gradients_path_and_leaves_logits_alone(grid):
    router = IntraDenoiseRouter(tiny().router, face_layers=1)
    masks = Refined(router.plan(Scene(grid, ("Anna", "Ben"))), refine, grid)
    routed = masks(0, torch.randn(1, 4, grid.tokens, 24), torch.randn(1, 2, 4, 8, 24))
    assert not routed.mask.requires_grad and routed.logits.requires_grad


def test_a_refined_router_plans_refined_masks(ask, clean):
    class Planned:
        def plan(self, scene):
            return FixedMask(clean * 0.7)

    source = RefinedRouter(Planned(), refine).plan(Scene(WIDE, ("Anna", "Ben")))
    assert torch.equal(ask(source, WIDE, n=2).mask, clean)
