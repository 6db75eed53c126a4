import pytest
import torch

from byav_core.model.injection import audio_to_token, inflate, with_strength


def masks(n: int, s: int = 7) -> torch.Tensor:
    return torch.rand(2, n, s, dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_inflated_a_character_may_move_what_no_other_owns(n):
    mask, wide = masks(n), inflate(m := masks(n))
    assert wide.shape == mask.shape
    for i in range(n):
        others = [m[:, j] for j in range(n) if j != i] or [torch.zeros_like(m[:, 0])]
        assert torch.equal(wide[:, i], 1 - torch.stack(others).amax(0))


def test_for_two_characters_inflation_is_the_flip_and_swap_of_the_paper():
    mask = masks(2)
    assert torch.equal(inflate(mask), 1 - mask.flip(1))


def test_alone_a_character_drives_every_token():
    assert torch.equal(audio_to_token(torch.ones(1, 1, 1), torch.zeros(1, 1, 5), "complement"), torch.ones(1, 1, 5))


@pytest.mark.parametrize("inflation", ["complement", "none"])
def test_swapping_the_audio_character_matrix_swaps_who_drives_which_tokens(inflation):
    mask, one_to_one = masks(2), torch.eye(2, dtype=torch.float64)[None]
    straight = audio_to_token(one_to_one, mask, inflation)
    assert torch.equal(audio_to_token(one_to_one.flip(1), mask, inflation), straight.flip(1))
    assert not torch.equal(straight[:, 0], straight[:, 1])


@pytest.mark.parametrize("inflation", ["complement", "none"])
def test_a_zero_column_is_a_silent_character_and_a_zero_row_an_unheard_stream(inflation):
    mask = torch.eye(3, dtype=torch.float64).repeat_interleave(2, dim=1)[None]  # two tokens each
    matrix = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]], dtype=torch.float64)
    driven = audio_to_token(matrix, mask, inflation)
    assert driven.tolist() == [[[1, 1, 0, 0, 0, 0], [0] * 6]]


def test_one_voice_for_two_people_is_as_loud_as_for_one():
    mask = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    assert audio_to_token(torch.ones(1, 1, 2), mask, "complement").tolist() == [[[1, 1, 1]]]
    assert audio_to_token(torch.ones(1, 1, 2), mask, "none").tolist() == [[[1, 1, 0]]]


@pytest.mark.parametrize("inflation", ["complement", "none"])
@pytest.mark.parametrize(("m", "n"), [(1, 3), (4, 2), (0, 2), (3, 0), (0, 0)])
def test_any_number_of_streams_and_characters(m, n, inflation):
    driven = audio_to_token(torch.ones(1, m, n), torch.rand(2, n, 7), inflation)
    assert driven.shape == (2, m, 7)
    assert n or not driven.any()


@pytest.mark.parametrize("inflation", ["complement", "none"])
def test_the_order_of_the_cast_does_not_matter(inflation):
    mask, matrix, order = masks(4), torch.rand(2, 3, 4, dtype=torch.float64), torch.tensor([2, 0, 3, 1])
    there = audio_to_token(matrix[:, :, order], mask[:, order], inflation)
    torch.testing.assert_close(there, audio_to_token(matrix, mask, inflation))


def test_strength_scales_what_a_character_hears():
    assert with_strength(torch.ones(1, 3, 2), (0.5, 0.0)).tolist() == [[[0.5, 0.0]] * 3]
    with pytest.raises(ValueError, match="1 audio strengths were given for 2 characters"):
        with_strength(torch.ones(1, 3, 2), (0.5,))
