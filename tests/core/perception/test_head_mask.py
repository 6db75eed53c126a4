import pytest
import torch

from byav_core.perception.head_mask import HeadShape, head_masks, share

BOX = torch.tensor([[30.0, 40.0, 50.0, 64.0]])


def test_a_mask_is_full_at_the_face_and_nothing_far_away():
    mask = head_masks(BOX, 96, 120, HeadShape())[0]
    assert (mask[40:64, 30:50] > 0.9).all()
    assert mask[:, 80:].max() == 0 and mask[:20].max() == 0
    assert 0 < mask[mask > 0].min() < 0.2  # the edge fades


def test_the_box_grows_to_head_and_shoulders():
    grown = HeadShape(width=3.0, above=0.5, below=1.0).grow(BOX)
    assert grown.tolist() == [[10.0, 28.0, 70.0, 88.0]]


@pytest.mark.parametrize("field, value", [("width", 4.0), ("above", 2.0), ("below", 3.0)])
def test_every_measure_of_the_shape_widens_the_mask(field, value):
    plain, wide = (head_masks(BOX, 96, 120, shape) for shape in (HeadShape(), HeadShape(**{field: value})))
    assert wide.sum() > 1.2 * plain.sum()


def test_moving_the_box_moves_the_mask():
    here, there = (
        head_masks(BOX, 96, 120, HeadShape()),
        head_masks(BOX + torch.tensor([7.0, 5, 7, 5]), 96, 120, HeadShape()),
    )
    torch.testing.assert_close(there[:, 5:, 7:], here[:, :-5, :-7])


def test_people_who_overlap_share():
    masks = head_masks(torch.cat([BOX, BOX + 8, BOX + 60]), 96, 120, HeadShape())
    assert masks.sum(0).max() <= 1 + 1e-6
    assert masks[0, 54, 42] == pytest.approx(0.5)
    assert masks[2].max() == 1


def test_sharing_leaves_masks_that_fit_together_alone():
    masks = torch.tensor([[0.2, 0.9], [0.5, 0.9]])
    torch.testing.assert_close(share(masks), torch.tensor([[0.2, 0.5], [0.5, 0.5]]))


def test_a_face_at_the_edge_of_the_picture():
    masks = head_masks(torch.tensor([[-4.0, -6.0, 10.0, 9.0]]), 40, 56, HeadShape())
    assert torch.isfinite(masks).all() and masks[0, 0, 0] > 0.5
