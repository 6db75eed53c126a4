"""Which clips a pass sees follows from its number; one character can stand for several."""

from dataclasses import replace

import pytest
import torch

from byav_core.training.dataset import Drawn
from byav_core.training.mixture import Mixture, collate, copies, replicated
from byav_core.training.stages import STAGES
from byav_core.training.step import TrainingStep


@pytest.fixture
def source(squares):
    return Drawn(squares.draw, {1: 500, 2: 300, 3: 100})


def test_a_pass_follows_from_the_seed_and_its_number_alone(source):
    mixture = Mixture(source, 0.5, 3, seed=1)
    forwards = [mixture.picks(k) for k in range(20)]
    backwards = [Mixture(source, 0.5, 3, seed=1).picks(k) for k in reversed(range(20))]
    assert forwards == backwards[::-1]
    assert forwards != [Mixture(source, 0.5, 3, seed=2).picks(k) for k in range(20)]


def test_all_rows_of_a_pass_have_as_many_characters(source):
    for k in range(30):
        assert len({pick.characters for pick in Mixture(source, 0.5, 4, seed=0).picks(k)}) == 1


def test_no_turn_comes_twice(source):
    turns = [pick.turn for k in range(30) for pick in Mixture(source, 0.5, 4, seed=0).picks(k)]
    assert len(set(turns)) == len(turns)


def test_the_tasks_are_mixed_as_told_and_numbers_of_characters_as_they_come(source):
    picks = [pick for k in range(1500) for pick in Mixture(source, 0.25, 2, seed=0).picks(k)]
    assert abs(sum(pick.clip == 1 for pick in picks) / len(picks) - 0.25) < 0.03
    assert abs(sum(pick.characters == 3 for pick in picks) / len(picks) - 0.25) < 0.03


@pytest.mark.parametrize("counts, characters, clips", [({1: 3}, {2}, {1}), ({2: 3, 4: 1}, {2, 4}, {2, 4})])
def test_where_there_is_only_one_task_there_is_only_one(squares, counts, characters, clips):
    picks = [pick for k in range(40) for pick in Mixture(Drawn(squares.draw, counts), 0.5, 1, seed=0).picks(k)]
    assert {pick.characters for pick in picks} == characters and {pick.clip for pick in picks} == clips


def test_every_copy_is_the_one_who_is_seen_now_and_then(source):
    picks = [pick for k in range(200) for pick in Mixture(source, 1.0, 1, seed=0).picks(k) if pick.characters == 3]
    assert {pick.seen for pick in picks} == {0, 1, 2}


def test_copies_share_face_and_voices_and_one_has_the_mask(encoders, squares):
    one = encoders.example(squares.sample(1, 0))
    three = replicated(one, 3, seen=1)
    assert three.identity.shape[0] == three.speech.shape[0] == 3
    assert torch.equal(three.masks[1], one.masks[0]) and three.masks.sum() == one.masks.sum()
    assert torch.equal(three.audio_to_character, torch.eye(3))
    assert all(torch.equal(three.identity[i], one.identity[0]) for i in range(3))


@pytest.mark.parametrize("seen", [0, 1])
def test_copies_are_told_what_the_single_character_is_told_where_it_is_seen(encoders, squares, seen):
    """Face and voice arrive once, whoever of the copies has the mask."""
    models, one = encoders.models, encoders.example(squares.sample(1, 0))
    whole = replace(one, masks=torch.ones_like(one.masks), canvas={1: one.canvas[1], 2: one.canvas[1]})
    step = TrainingStep(models.network, replace(STAGES[1], mask_dropout=0.0, mask_noise=0.0), models.config.schedule)
    with torch.no_grad():
        single, double = (
            step(collate((row,), (False,), models.text("")), torch.Generator().manual_seed(4))["total"]
            for row in (whole, replicated(whole, 2, seen))
        )
    torch.testing.assert_close(single, double)


def test_clips_of_different_extent_are_named(encoders, squares):
    two, three = (encoders.example(squares.sample(n, 0)) for n in (2, 3))
    with pytest.raises(ValueError, match="squares-3-0 and squares-2-0 cannot be in one batch"):
        collate((two, three), (False, False), encoders.models.text(""))


def test_single_clips_stand_for_as_many_as_others_have(source, squares):
    assert copies(source) == (2, 3) and copies(Drawn(squares.draw, {1: 4})) == (2,)


def test_a_batch_says_which_rows_are_copies(passes):
    for number in range(6):
        assert passes[number].copied.tolist() == [pick.clip == 1 for pick in passes.mixture.picks(number)]
