import itertools

import pytest
import torch

from byav_core.model.positions import RotaryPositions, crop_region, stretch
from byav_core.types import TokenGrid

SAMPLE = TokenGrid(3, 4, 6)


def test_grids_are_laid_over_the_sample_as_cogvideox_does():
    from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid

    for h, w, sample_h, sample_w in itertools.product((3, 7, 30), (5, 11, 45), (4, 30), (6, 45)):
        theirs = get_resize_crop_region_for_grid((h, w), sample_w, sample_h)
        assert crop_region((h, w), (sample_h, sample_w)) == theirs


def test_the_sample_grid_is_not_cropped():
    assert crop_region((30, 45), (30, 45)) == ((0, 0), (30, 45))


def test_time_row_and_column_turn_channels_of_their_own():
    grid = TokenGrid(2, 3, 5)
    cos, sin = RotaryPositions(16, (3, 5))(grid, torch.device("cpu"))
    t, h, w = cos.unflatten(0, (2, 3, 5)).split([4, 6, 6], dim=-1)
    assert torch.equal(t, t[:, :1, :1].expand_as(t)) and not torch.equal(t[0], t[1])
    assert torch.equal(h, h[:1, :, :1].expand_as(h)) and not torch.equal(h[:, 0], h[:, 1])
    assert torch.equal(w, w[:1, :1].expand_as(w)) and not torch.equal(w[:, :, 0], w[:, :, 1])
    torch.testing.assert_close(cos**2 + sin**2, torch.ones_like(cos))


def test_a_position_table_at_its_own_extent_is_left_alone():
    table = torch.randn(1, SAMPLE.tokens, 8)
    assert stretch(table, SAMPLE, SAMPLE) is table


@pytest.mark.parametrize("grid", [TokenGrid(6, 4, 6), TokenGrid(3, 8, 9), TokenGrid(1, 2, 3)])
def test_a_stretched_table_stays_within_the_old_one_and_in_order(grid):
    rising = torch.arange(float(SAMPLE.t))[:, None, None].expand(SAMPLE.t, SAMPLE.h, SAMPLE.w)
    stretched = stretch(rising.reshape(1, -1, 1), SAMPLE, grid).reshape(grid.t, grid.h, grid.w)
    assert stretched.min() >= 0 and stretched.max() <= SAMPLE.t - 1
    assert torch.equal(stretched, stretched[:, :1, :1].expand_as(stretched))
    assert (stretched.diff(dim=0) >= 0).all()
