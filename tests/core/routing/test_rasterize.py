import pytest
import torch
from safetensors.torch import load_file

from byav_core.routing.rasterize import check_extent, one_hot, released, soft
from byav_core.types import Scene, TokenGrid


def moving_boxes() -> torch.Tensor:
    """The masks behind the released vector: two boxes, one drifting right, one down."""
    masks = torch.zeros(2, 49, 480, 720)
    for t in range(49):
        masks[0, t, 100:300, 40 + 3 * t : 240 + 3 * t] = 1
        masks[1, t, 120 + t : 330 + t, 380:600] = 1
    return masks


def test_one_hot_masks_equal_the_released_conversion(vectors):
    expected = load_file(vectors / "masks.outputs.safetensors")["routing_logits"].float()
    grid = TokenGrid(13, 30, 45)
    assert torch.equal(grid.flatten(one_hot(moving_boxes(), grid)[None]).mT, expected)


def test_released_masks_hold_still_where_a_character_ever_is():
    masks = released(moving_boxes(), TokenGrid(13, 30, 45))
    assert masks.sum(dim=(1, 2, 3)).tolist() == [13 * 273, 13 * 208]
    assert (masks == masks[:, :1]).all()


def test_a_later_character_overwrites_in_the_released_conversion_only(grid):
    everywhere = torch.ones(3, 1, 64, 96)
    assert one_hot(everywhere, grid).mean(dim=(1, 2, 3)).tolist() == [0, 0, 1]
    assert soft(everywhere, grid).mean(dim=(1, 2, 3)).tolist() == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("frames", [1, 3, 9])
def test_a_mask_on_the_left_stays_on_the_left(grid, halves, frames):
    folded = grid.fold(grid.flatten(soft(halves.expand(-1, frames, -1, -1), grid)[None]))
    assert (folded[0, 0, :, :, :3] == 1).all() and (folded[0, 0, :, :, 3:] == 0).all()
    assert torch.equal(folded[:, 1], folded[:, 0].flip(-1))


def test_a_mask_on_top_stays_on_top(grid):
    top = torch.zeros(1, 1, 64, 96)
    top[:, :, :16] = 1
    assert soft(top, grid).mean(dim=(0, 1, 3)).tolist() == [1, 0, 0, 0]


def test_a_token_is_owned_by_the_share_that_is_covered(grid):
    masks = torch.zeros(1, 1, 64, 96)
    masks[..., :4, :8] = 1  # an eighth of a token of 16 x 16
    assert soft(masks, grid)[0, 0].flatten().tolist() == [0.125] + [0] * 23


def test_overlap_is_shared_and_the_rest_is_not(grid):
    masks = torch.zeros(2, 1, 64, 96)
    masks[0, ..., :64] = 1
    masks[1, ..., 48:] = 1
    shares = soft(masks, grid)[:, 0, 0]
    assert shares.tolist() == [[1, 1, 1, 0.5, 0, 0], [0, 0, 0, 0.5, 1, 1]]


def test_the_first_latent_frame_is_the_first_video_frame_and_groups_follow(grid):
    masks = torch.zeros(1, 9, 64, 96)
    masks[:, 0] = 1
    assert soft(masks, grid).mean(dim=(2, 3)).tolist() == [[1, 0, 0]]
    masks = torch.zeros(1, 9, 64, 96)
    masks[:, 4] = 1  # the last of the first group of four
    assert soft(masks, grid).mean(dim=(2, 3)).tolist() == [[0, 0.25, 0]]


def test_masks_at_the_rate_of_latents_are_taken_as_they_are(grid):
    masks = torch.rand(2, 3, 4, 6) / 2
    assert torch.allclose(soft(masks, grid), masks)


@pytest.mark.parametrize("size", [(64, 96), (4, 6), (256, 384), (250, 384)])
def test_any_size_of_about_the_same_proportions_fits(scene, size):
    check_extent(torch.zeros(2, 9, *size), scene)


@pytest.mark.parametrize("size", [(96, 64), (64, 64), (480, 640)])
def test_other_proportions_are_refused_with_both_sizes(scene, size):
    with pytest.raises(ValueError, match=f"{size[1]}x{size[0]} pixels .* 6x4 token grid"):
        check_extent(torch.zeros(2, 9, *size), scene)


@pytest.mark.parametrize("frames", [2, 3, 8, 17])
def test_another_number_of_frames_is_refused_with_both_numbers(scene, frames):
    with pytest.raises(ValueError, match=f"over {frames} frames do not fit 3 latent frames.* the video's 9 frames"):
        check_extent(torch.zeros(2, frames, 64, 96), scene)


def test_without_a_known_number_of_frames_whole_groups_fit(grid):
    scene = Scene(grid, ("Anna",))
    for frames in (1, 3, 9, 17):
        check_extent(torch.zeros(1, frames, 64, 96), scene)
    with pytest.raises(ValueError, match="over 8 frames .* a multiple of 2, plus one"):
        check_extent(torch.zeros(1, 8, 64, 96), scene)


def test_a_picture_of_one_latent_frame_takes_one_frame():
    still = Scene(TokenGrid(1, 4, 6), ("Anna",), frames=1)
    check_extent(torch.zeros(1, 1, 64, 96), still)
    with pytest.raises(ValueError, match="over 9 frames do not fit 1 latent"):
        check_extent(torch.zeros(1, 9, 64, 96), still)
