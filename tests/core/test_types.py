import pytest
import torch

from byav_core.types import Audio, Clip, TokenGrid, silence

GRID = TokenGrid(t=2, h=3, w=5)


def test_raster_order_is_time_then_row_then_column():
    tokens = torch.arange(GRID.tokens, dtype=torch.float32)[None, None]
    folded = GRID.fold(tokens)
    assert folded[0, 0, 1, 2, 4] == GRID.tokens - 1
    assert folded[0, 0, 1, 0, 0] == 3 * 5 and folded[0, 0, 0, 1, 0] == 5 and folded[0, 0, 0, 0, 1] == 1


@pytest.mark.parametrize("b, n", [(1, 4), (3, 0)])
def test_fold_and_flatten_undo_each_other(b, n):
    tokens = torch.rand(b, n, GRID.tokens)
    assert torch.equal(GRID.flatten(GRID.fold(tokens)), tokens)


def test_what_does_not_fit_the_grid_is_refused_with_both_sizes():
    with pytest.raises(ValueError, match=r"29 tokens do not fill a 2x3x5 grid \(30\)"):
        GRID.fold(torch.zeros(1, 1, 29))
    with pytest.raises(ValueError, match=r"extent \(2, 5, 3\) does not fit grid \(2, 3, 5\)"):
        GRID.flatten(torch.zeros(1, 1, 2, 5, 3))


@pytest.mark.parametrize("frames, t", [(1, 1), (5, 2), (49, 13)])
def test_a_clip_knows_its_grid(frames, t):
    assert Clip(frames, 480, 720, 25.0).grid(16, 4) == TokenGrid(t, 30, 45)


@pytest.mark.parametrize("frames, near", [(48, 49), (50, 49), (0, 1), (-3, 1), (7, 9), (3, 1)])
def test_frames_that_do_not_fit_are_refused_with_the_nearest_that_do(frames, near):
    with pytest.raises(ValueError, match=rf"{frames} frames do not fit: .* needs 4k\+1; use {near}$"):
        Clip(frames, 480, 720, 25.0).grid(16, 4)


@pytest.mark.parametrize(
    "height, width, sentence", [(470, 720, "height 470 .* use 464"), (480, 7, "width 7 .* use 16")]
)
def test_sizes_that_do_not_fit_are_refused_with_the_nearest_that_do(height, width, sentence):
    with pytest.raises(ValueError, match=sentence):
        Clip(49, height, width, 25.0).check(16, 4)


def test_sound_lasts_as_long_as_its_samples():
    assert Audio(torch.zeros(400), 16000).seconds == 0.025
    assert silence(0.5, 8000).waveform.shape == (4000,) and not silence(0.5, 8000).waveform.any()
