"""Prompts: who stands where, in few words of a known vocabulary."""

from byav_core.synthetic.identity import Identity, Outfit
from byav_core.synthetic.motion import PLACES
from byav_core.synthetic.prompt import describe, vocabulary
from byav_core.synthetic.world import WorldSpec, plan_scene


def person(hair):
    return Identity("tan", hair, "bob", "oval", "dark", "none", "none")


def test_it_reads_from_left_to_right_whoever_comes_first():
    left, right = PLACES[2]
    people, outfits = (
        (person("blond"), person("black")),
        (Outfit("blue", "none", "teal"), Outfit("green", "cap", "lime")),
    )
    said = describe(people, outfits, (right, left), "crossing", "park")
    assert said == "left black in green, right blond in blue, crossing, park"


def test_rows_are_read_from_back_to_front():
    spec = WorldSpec(people=(6,))
    said = plan_scene(2, spec).prompt.split(", ")
    assert [part.rsplit(" ", 3)[0] for part in said[:6]] == [place.words for place in PLACES[6]]


def test_every_word_is_in_the_vocabulary_and_most_of_it_is_used():
    spec = WorldSpec(people=(1, 2, 3, 4, 5, 6))
    said = {word for seed in range(300) for word in plan_scene(seed, spec).prompt.replace(",", "").split()}
    assert said <= set(vocabulary()) and len(said) > 0.9 * len(vocabulary())
    assert len(vocabulary()) < 64


def test_two_people_fit_into_64_bytes():
    assert max(len(plan_scene(seed, WorldSpec()).prompt.encode()) for seed in range(200)) < 64
