"""On true videos every read-out is near its ceiling; on videos made false it falls."""

from dataclasses import replace

import pytest
import torch

from byav_core.benchmark.scores import Score, _due, added, mean_of, response
from byav_core.synthetic.world import draw_pictures

PLACES = ("true", "own")


@pytest.fixture(scope="module")
def everyday(scenes):
    return scenes("everyday", 8)


@pytest.fixture(scope="module")
def ceiling(everyday, true_film, read):
    return read([true_film(scene) for scene in everyday], everyday)


@pytest.mark.parametrize("place", PLACES)
def test_on_true_videos_every_mouth_follows_its_own_voice(ceiling, place):
    assert ceiling[f"binding/{place}"] == 1.0
    assert ceiling[f"overlap/{place}"] == 1.0
    assert ceiling[f"own voice/{place}"] > 0.9
    assert ceiling[f"other voice/{place}"] < 0.3
    assert ceiling[f"leak/{place}"] < 0.05


@pytest.mark.parametrize("place", PLACES)
def test_on_true_videos_people_places_and_words_are_recognised(ceiling, place):
    assert ceiling[f"identity/{place}"] >= 0.9
    assert ceiling[f"joint/{place}"] >= 0.9
    assert ceiling[f"prompt/{place}"] >= 0.95
    assert ceiling[f"layout/{place}"] >= 0.85


def test_masks_that_are_the_same_for_all_say_nothing_of_where_people_are(everyday, true_film, read):
    same = [true_film(scene, masks=torch.full_like(scene.sample.masks, 0.5)) for scene in everyday[:2]]
    found = read(same, everyday[:2])
    assert found["binding/true"] == 1.0
    assert not [name for name in found if name.endswith("/own")]


@pytest.mark.parametrize("kind", ["close", "moving", "three", "four"])
def test_the_ceiling_is_high_in_hard_scenes_as_well(kind, scenes, true_film, read):
    some = scenes(kind, 6)
    found = read([true_film(scene) for scene in some], some)
    assert found["binding/true"] >= 0.95
    assert found["own voice/true"] >= 0.85
    assert found["identity/true"] >= 0.8


def test_with_the_matrix_swapped_the_same_mouths_follow_the_wrong_voices(everyday, true_film, read):
    swapped = [true_film(scene, matrix=scene.sample.audio_to_character.roll(1, dims=1)) for scene in everyday]
    found = read(swapped, everyday)
    assert found["binding/true"] == 0.0 and found["joint/true"] == 0.0
    assert found["own voice/true"] < 0.3 < 0.9 < found["other voice/true"]
    assert found["identity/true"] >= 0.9  # the people are who they were


def test_mouths_that_stand_still_follow_nobody(everyday, true_film, read):
    frozen = [true_film(scene, frames=scene.sample.frames[:1].expand_as(scene.sample.frames)) for scene in everyday]
    found = read(frozen, everyday)
    assert found["binding/true"] < 0.5
    assert abs(found["own voice/true"]) < 0.4


def test_a_mouth_that_moves_though_nobody_gave_it_a_voice_leaks(everyday, true_film, read):
    def muted(scene):
        return true_film(scene, matrix=scene.sample.audio_to_character * torch.tensor([0.0, 1.0]))

    overlapping = [scene for scene in everyday if scene.plan.mode == "overlap"]
    found = read([muted(scene) for scene in overlapping], overlapping)
    assert found["leak/true"] > 0.5


def test_exchanged_people_are_not_taken_for_each_other(everyday, true_film, read):
    films = [true_film(scene) for scene in everyday]
    exchanged = [replace(scene, plan=replace(scene.plan, people=scene.plan.people[::-1])) for scene in everyday]
    found = read(films, exchanged)
    for name in ("identity", "joint", "hair", "layout"):
        assert found[f"{name}/true"] <= 0.1, name
    assert found["binding/true"] == 1.0


def test_exchanged_masks_show_people_and_voices_in_the_wrong_place(everyday, true_film, read):
    films = [true_film(scene, masks=scene.sample.masks.flip(0)) for scene in everyday]
    found = read(films, everyday)
    assert found["identity/own"] <= 0.1 and found["binding/own"] <= 0.2
    assert found["identity/true"] >= 0.9 and found["binding/true"] == 1.0


def test_a_mirrored_video_has_another_layout(everyday, true_film, read):
    mirrored = [
        true_film(scene, frames=scene.sample.frames.flip(3), masks=scene.sample.masks.flip(3)) for scene in everyday
    ]
    found = read(mirrored, everyday)
    assert found["layout/own"] <= 0.15 and found["layout/true"] <= 0.15
    assert found["identity/own"] >= 0.8  # though everybody is there


def test_a_video_of_another_scene_says_nothing_of_the_prompt(everyday, true_film, read):
    others = everyday[1:] + everyday[:1]
    films = [
        true_film(scene, frames=other.sample.frames, masks=other.sample.masks)
        for scene, other in zip(everyday, others, strict=True)
    ]
    found = read(films, everyday)
    assert found["prompt/own"] < 0.5 and found["identity/own"] < 0.3


def test_mouths_that_change_with_the_matrix_respond_and_others_do_not(everyday, true_film):
    """The same scene drawn anew with the matrix swapped is what a perfect model would film."""
    for scene in everyday[:3]:
        own = scene.sample.audio_to_character
        swapped = own.roll(1, dims=1)
        spec, mouths = scene.spec, _due(swapped, scene)
        shown = draw_pictures(scene.plan, mouths, spec)
        before, after = true_film(scene), true_film(scene, matrix=swapped, frames=shown.frames, masks=shown.masks)
        moved = response(after, before, scene)["response/own"]
        assert moved.amount >= 0.85 * moved.of
        unmoved = response(true_film(scene, matrix=swapped), before, scene)["response/own"]
        assert unmoved.of and unmoved.amount == 0


def test_scores_add_up_over_scenes():
    total = added([{"a": mean_of([1, 0])}, {"a": mean_of([1]), "b": Score(2.0, 4.0, 3)}])
    assert total == {"a": Score(2.0, 3.0, 3), "b": Score(2.0, 4.0, 3)}
