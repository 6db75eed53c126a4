"""How far mouths are open, and which voice they follow."""

import torch

from byav_core.benchmark.mouths import correlation, correlations, motion, read_openings
from byav_core.synthetic.mouth import speaking

EVERYWHERE = torch.ones(12, dtype=torch.bool)
VOICE = torch.tensor([0, 0.5, 1, 0.2, 0, 0.8, 0.1, 0.9, 0, 0.4, 0.7, 0])
OTHER = VOICE.flip(0).roll(3)


def test_the_opening_read_is_the_opening_drawn(scenes):
    for scene in scenes("standing", 4):
        read, truth = read_openings(scene.sample.frames, scene.sample.masks, scene.heads), scene.sample.truth.mouths
        assert (read - truth).abs().mean() < 0.12
        assert read[truth == 0].max() < 0.02


def test_what_is_outside_of_the_mask_is_not_read(scenes):
    (scene,) = scenes("everyday", 1)
    nowhere = torch.zeros_like(scene.sample.masks)
    assert (read_openings(scene.sample.frames, nowhere, scene.heads) == 0).all()


def test_a_mouth_correlates_with_itself_and_not_at_all_when_it_stands_still():
    assert abs(correlation(VOICE, 0.3 * VOICE + 0.1) - 1) < 1e-5
    assert correlation(VOICE, torch.full_like(VOICE, 0.4)) == 0


def test_the_strongest_rival_counts():
    own, other = correlations(OTHER, VOICE, torch.stack([1 - OTHER, OTHER]), EVERYWHERE)
    assert other > 0.99 > own


def test_nothing_is_said_without_a_rival_that_varies_or_with_too_few_frames():
    silent = torch.zeros(1, 12)
    assert correlations(VOICE, VOICE, silent, EVERYWHERE) is None
    assert correlations(VOICE, VOICE, OTHER[None], torch.arange(12) < 3) is None
    assert correlations(VOICE, silent[0], OTHER[None], EVERYWHERE) is None


def test_only_the_frames_asked_for_count():
    half = torch.arange(12) < 8
    wrong_later = torch.where(half, VOICE, OTHER)
    own, _ = correlations(wrong_later, VOICE, OTHER[None], half)
    assert own > 0.99


def test_a_short_pause_is_still_speech():
    openings = torch.zeros(1, 20)
    openings[0, [5, 7]] = 0.5
    assert speaking(openings, fps=12.5)[0].nonzero().flatten().tolist() == [3, 4, 5, 6, 7, 8, 9]


def test_motion_is_counted_between_frames_that_both_count():
    read = torch.tensor([0.0, 0.5, 0.5, 0.0])
    assert motion(read, torch.tensor([True, True, True, False])) == [0.5, 0.0]
