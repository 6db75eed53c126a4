"""The world: the same bytes from the same seed, truth that agrees with the pixels, and a test split that is new."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from byav_core.clip import as_stored, check_sample, save_sample
from byav_core.synthetic import WorldSpec, draw_scene
from byav_core.synthetic.chance import split_of
from byav_core.synthetic.identity import HAIRS, REDDEST, SHIRTS
from byav_core.synthetic.motion import TOGETHER
from byav_core.synthetic.mouth import mouth_opening
from byav_core.synthetic.voices import OTHER_SOUNDS, RATE
from byav_core.synthetic.world import BINDINGS, MODES, plan_scene
from byav_core.types import Audio

ROOT = Path(__file__).parents[3]
TWO = WorldSpec(people=(2,))
TALKING = replace(TWO, modes=("overlap",), sounds=("speech",), bindings=("own",))
APART = ("still", "swaying", "nodding", "turning")


def redness(frames):
    return frames[:, 0] - torch.maximum(frames[:, 1], frames[:, 2])


def mouth_seen(sample):
    """The part of each character's pixels that is as red as only a mouth is."""
    red = ((redness(sample.frames) - REDDEST) / 0.1).clamp(0, 1)
    return (red * sample.masks).sum(dim=(2, 3)) / sample.masks.sum(dim=(2, 3)).clamp(min=1)


def correlation(one, other):
    return float(torch.corrcoef(torch.stack([one, other]))[0, 1])


# from a seed ----------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    (tmp_path / "again").mkdir()
    one, again = save_sample(draw_scene(5, TWO), tmp_path), save_sample(draw_scene(5, TWO), tmp_path / "again")
    assert one.read_bytes() == again.read_bytes()


ALL_SCENES = """
import hashlib, pathlib, sys, torch
from byav_core.clip import save_sample
from byav_core.synthetic import WorldSpec, draw_scene
from byav_core.synthetic.motion import KINDS, TOGETHER
torch.set_num_threads(int(sys.argv[2]))
for people in range(1, 7):
    for motion in KINDS:
        if people > 1 or motion not in TOGETHER:
            sample = draw_scene(people, WorldSpec(people=(people,), motions=(motion,), frames=5))
            path = save_sample(sample, pathlib.Path(sys.argv[1]))
            print(people, motion, hashlib.sha256(path.read_bytes()).hexdigest())
"""


@pytest.mark.slow
def test_two_processes_give_the_same_bytes_for_all_numbers_of_people_in_all_motions(tmp_path):
    """However many threads they have, and whatever order Python gives its sets."""

    def drawn(threads):
        command = [sys.executable, "-c", ALL_SCENES, str(tmp_path), threads]
        surroundings = os.environ | {"PYTHONHASHSEED": threads}
        return subprocess.run(command, cwd=ROOT, env=surroundings, check=True, capture_output=True, text=True).stdout

    one = drawn("1")
    assert one == drawn("3") and len(set(one.splitlines())) == 7 * 6 - len(TOGETHER)


def test_what_was_drawn_before_makes_no_difference():
    first = draw_scene(6, TWO)
    torch.manual_seed(0)
    draw_scene(7, TWO)
    assert torch.equal(draw_scene(6, TWO).frames, first.frames)


def test_drawing_leaves_global_chance_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    draw_scene(1, TWO)
    assert torch.equal(torch.rand(2), expected)


def test_seeds_differ():
    prompts = {plan_scene(seed, TWO).prompt for seed in range(30)}
    assert len(prompts) == 30
    assert not torch.equal(draw_scene(0, TWO).frames, draw_scene(1, TWO).frames)


def test_a_sample_on_the_fly_is_what_it_is_on_disk():
    sample = draw_scene(2, TWO)
    stored = as_stored(sample)
    assert torch.equal(stored.frames, sample.frames) and torch.equal(stored.masks, sample.masks)
    assert torch.equal(stored.streams[0].waveform, sample.streams[0].waveform)


# extents --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("people", range(1, 7))
def test_any_number_of_people(people):
    sample = draw_scene(people, WorldSpec(people=(people,), frames=5))
    check_sample(sample)
    assert sample.characters == people == len(set(sample.truth.identities))
    assert (sample.masks.amax(dim=(1, 2, 3)) > 0.9).all()


def test_any_size_length_and_rate():
    spec = replace(TWO, width=72, height=112, frames=9, fps=25.0, reference_size=40)
    sample = draw_scene(0, spec)
    assert sample.frames.shape == (9, 3, 112, 72) and sample.masks.shape == (2, 9, 112, 72)
    assert sample.references[0].shape == (3, 40, 40) and sample.streams[0].seconds == 9 / 25
    assert sample.truth.mouths.shape == (2, 9)


def test_a_larger_picture_is_the_same_picture():
    small, large = draw_scene(4, TWO), draw_scene(4, replace(TWO, width=192, height=128))
    halved = torch.nn.functional.avg_pool2d(large.frames, 2)
    assert (halved - small.frames).abs().mean() < 0.02


# the truth and the pixels ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("people", [2, 3, 6])
def test_masks_share_no_pixel(people):
    for seed in range(4):
        masks = draw_scene(seed, WorldSpec(people=(people,), motions=("crossing", "leaning"))).masks
        assert masks.sum(dim=0).max() <= 1 + people / 255


def test_a_mouth_opens_within_the_lips_and_these_are_a_small_part_of_the_face():
    sample = draw_scene(4, replace(TALKING, motions=("crossing", "leaning")))
    truth = sample.truth
    assert (truth.faces <= sample.masks + 1 / 255).all() and (truth.lips <= sample.masks + 1 / 255).all()
    area = [planes.sum(dim=(1, 2, 3)) for planes in (truth.lips, truth.faces, sample.masks)]
    assert (area[0] < 0.3 * area[1]).all() and (area[1] < 0.6 * area[2]).all()
    red = ((redness(sample.frames) - REDDEST) / 0.1).clamp(0, 1)
    assert (red * truth.lips.sum(dim=0)).sum() > 0.95 * red.sum() > 0


def test_outside_all_masks_nothing_moves():
    sample = draw_scene(3, replace(TWO, motions=("swaying",)))
    behind = sample.masks.sum(dim=0).amax(dim=0) == 0
    assert behind.sum() > 1000
    assert (sample.frames[..., behind] == sample.frames[:1, :, behind]).all()


def test_each_mask_holds_that_persons_shirt_and_hair():
    for seed in range(8):
        spec = replace(TWO, motions=APART)
        plan, sample = plan_scene(seed, spec), draw_scene(seed, spec)
        for i in range(2):
            own = _likeness(sample, i, SHIRTS[plan.outfits[i].shirt])
            assert own > 0.3 and own > 0.1 + _likeness(sample, 1 - i, SHIRTS[plan.outfits[i].shirt])
            if plan.outfits[i].hat == "none":
                assert _likeness(sample, i, HAIRS[plan.people[i].hair]) > 0.02


def _likeness(sample, i, colour):
    """The part of a character's pixels that have the hue of a colour, in whatever light."""
    pixels = sample.frames[0][:, sample.masks[i, 0] > 0.9]
    wanted = torch.tensor(colour)[:, None]
    gain = (pixels * wanted).sum(0) / wanted.square().sum()
    near = ((pixels - gain * wanted).norm(dim=0) < 0.08) & (gain > 0.5) & (gain < 1.3)
    return float(near.float().mean())


def test_who_is_occluded_loses_the_occluders_pixels():
    spec = replace(TALKING, motions=("crossing",), people=(2,))
    for seed in range(4):
        plan, sample = plan_scene(seed, spec), draw_scene(seed, spec)
        behind, before = plan.depth
        area = sample.masks.sum(dim=(2, 3))
        assert area[behind].min() < 0.45 * area[behind].max()
        assert area[before].min() > 0.8 * area[before].max()
        assert (sample.masks[behind] * sample.masks[before] > 0.3).float().mean() < 0.01


def test_the_opening_of_mouths_can_be_read_from_the_pixels():
    seen = []
    for seed in range(12):
        sample = draw_scene(seed, replace(TALKING, motions=APART))
        for own, truth in zip(mouth_seen(sample), sample.truth.mouths, strict=True):
            seen.append(correlation(own, truth))
    seen = torch.tensor(seen)
    assert seen.mean() > 0.93 and seen.quantile(0.1) > 0.9


def test_silent_people_show_no_red_and_no_opening():
    for seed in range(8):
        sample = draw_scene(seed, replace(TWO, modes=("silent",)))
        assert sample.truth.mouths.max() == 0 and sample.truth.speaking.max() == 0
        assert mouth_seen(sample).max() < 0.002


def test_mouths_follow_the_sum_of_what_the_matrix_gives_them():
    for binding in BINDINGS:
        sample = draw_scene(9, replace(TALKING, bindings=(binding,)))
        sounds = torch.stack([audio.waveform for audio in sample.streams])
        own = sample.audio_to_character.T @ sounds
        truth = torch.stack([mouth_opening(Audio(sound, RATE), sample.clip.frames, sample.fps) for sound in own])
        assert (truth - sample.truth.mouths).abs().max() < 0.01


# who speaks -----------------------------------------------------------------------------------------------------------


def spoken(mode, people=2):
    spec = replace(TALKING, modes=(mode,), people=(people,), frames=33)
    return [draw_scene(seed, spec).truth.speaking for seed in range(3)]


def test_modes_are_what_they_say():
    for one, turns, overlap in zip(spoken("one", 3), spoken("turns"), spoken("overlap"), strict=True):
        assert (one.amax(dim=1) > 0).sum() == 1
        assert (turns.amax(dim=1) > 0).all() and turns.prod(dim=0).mean() < 0.2
        assert overlap.mean() > 0.8


def test_a_shared_voice_moves_two_mouths_alike_and_a_mute_one_none():
    shared = draw_scene(4, replace(TALKING, bindings=("shared",)))
    assert shared.audio_to_character.tolist() == [[1, 1]]
    assert torch.equal(*shared.truth.mouths) and shared.truth.mouths.mean() > 0.2
    mute = draw_scene(4, replace(TALKING, bindings=("mute",)))
    silent = mute.audio_to_character.sum(dim=0) == 0
    assert silent.sum() == 1 and mute.truth.mouths[silent].max() == 0 and mute.truth.mouths[~silent].mean() > 0.2


def test_shuffled_streams_are_told_by_the_matrix():
    matrices = {
        tuple(map(tuple, plan_scene(s, replace(TWO, bindings=("shuffled",))).audio_to_character.tolist()))
        for s in range(20)
    }
    assert matrices == {((1, 0), (0, 1)), ((0, 1), (1, 0))}


def test_every_choice_of_the_defaults_is_drawn():
    plans = [plan_scene(seed, WorldSpec()) for seed in range(300)]
    assert {plan.mode for plan in plans} == set(MODES)
    sounds = {voice for plan in plans for voice in plan.voices}
    assert set(OTHER_SOUNDS) < sounds
    assert {len(plan.people) for plan in plans} == {1, 2}
    assert {"cap", "beanie", "brim", "none"} == {outfit.hat for plan in plans for outfit in plan.outfits}


def test_people_come_in_any_order():
    plans = [plan_scene(seed, TWO) for seed in range(60)]
    left_first = sum(plan.places[0].words == "left" for plan in plans)
    nearer_first = sum(plan.depth[1] == 0 for plan in plans)
    assert 15 < left_first < 45 and 15 < nearer_first < 45


# references and splits ------------------------------------------------------------------------------------------------


def test_references_show_no_hat_and_other_light():
    spec = replace(TWO, modes=("silent",))
    hatted = [(s, i) for s in range(40) for i, o in enumerate(plan_scene(s, spec).outfits) if o.hat != "none"]
    assert len(hatted) > 8
    for seed, i in hatted[:8]:
        plan, sample = plan_scene(seed, spec), draw_scene(seed, spec)
        hair = torch.tensor(HAIRS[plan.people[i].hair])[:, None, None]
        top = sample.references[i][:, 8:18, 24:40]
        gain = (top * hair).sum(0) / hair.square().sum()
        assert ((top - gain * hair).norm(dim=0) < 0.12).float().mean() > 0.4


def test_two_scenes_show_one_person_by_different_references():
    sample, other = draw_scene(0, TWO), draw_scene(1, TWO)
    assert not torch.equal(sample.references[0], sample.references[1])
    assert not torch.equal(sample.references[0], other.references[0])


def test_train_and_test_share_nothing():
    named = {"train": set(), "test": set()}
    for split, keys in named.items():
        for seed in range(150):
            plan = plan_scene(seed, WorldSpec(split=split))
            spoken = {voice for voice in plan.voices if voice not in OTHER_SOUNDS}
            here = {who.key for who in plan.people} | spoken | {plan.motion, plan.background}
            assert {split_of(key) for key in here} == {split}
            keys |= here
    assert len(named["train"]) > 300 and not named["train"] & named["test"]


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"people": (7,)}, "people: 7 cannot be drawn; choose among 1, 2, 3"),
        ({"motions": ("flying",)}, "motions: flying cannot be drawn; choose among still"),
        ({"modes": ()}, "modes: none cannot be drawn"),
        ({"bindings": ("wrong",)}, "bindings: wrong"),
        ({"motions": ("crossing",), "people": (2, 1)}, "crossing needs two people; add another motion"),
        ({"frames": 0}, "a world with frames 0 cannot be drawn; choose from 1 to 10000"),
        ({"width": -96}, "width -96"),
        ({"height": 10**9}, "height 1000000000 cannot be drawn; choose from 1 to 4096"),
        ({"fps": float("nan")}, "fps nan"),
        ({"fps": float("inf")}, "fps inf"),
        ({"fps": 1e5}, "fps 100000.0 cannot be drawn; choose from 1 to 240"),
        ({"voices": "/no/such/folder"}, "there are no voices in /no/such/folder"),
    ],
)
def test_what_cannot_be_drawn_is_named(wrong, said):
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        draw_scene(0, WorldSpec(**wrong))
