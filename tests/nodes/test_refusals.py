"""What is refused before the run, and in which words; and what only a node with its inputs can see."""

import pytest
import torch


@pytest.mark.parametrize(
    ("node", "inputs", "words"),
    [
        ("Scene", {"frames": 48}, ("48", "4k+1", "49")),
        ("Scene", {"frames": 0}, ("0", "use 1")),
        ("Scene", {"frames": 9999}, ("9999", "use 4097")),
        ("Scene", {"width": 100}, ("width", "100", "use 96")),
        ("Scene", {"height": 8}, ("height", "8", "use 16")),
        ("Scene", {"fit": "stretch"}, ("stretch", "crop")),
        ("Character", {"name": "   "}, ("name is empty", "Anna")),
        ("Character", {"box": "1, 2, 3"}, ("1, 2, 3", "left, top, right, bottom")),
        ("Character", {"box": "30, 10, 20, 40"}, ("30, 10, 20, 40",)),
        ("Character", {"box": "0, 0, inf, inf"}, ("0, 0, inf, inf", "left, top, right, bottom")),
        ("Character", {"box": "nan, nan, nan, nan"}, ("nan, nan, nan, nan",)),
        ("Speech", {"name": ""}, ("name is empty",)),
        ("Speech", {"start": -1.0}, ("-1", "0 to 3600")),
        ("Speech", {"loudness": 5.0}, ("5", "-60 to 0")),
        ("AudioCharacterMatrix", {"mode": "custom table", "table": "  "}, ("empty", "voice 1: Anna")),
        ("AudioCharacterMatrix", {"mode": "custom table", "table": "a: b\nvoice Anna"}, ("'voice Anna'", "colon")),
        ("AudioCharacterMatrix", {"mode": "mirrored"}, ("mirrored", "swapped")),
        ("CharacterMask", {"name": " "}, ("name is empty",)),
        ("Router", {"router": "psychic"}, ("psychic", "intra")),
        ("Router", {"router": "pre"}, ("pre", "face encoder")),
        ("Router", {"router": "post", "face_encoder": None}, ("post", "prompt")),
        ("Router", {"router": "fixed"}, ("fixed", "Character Mask")),
        ("Sampler", {"steps": 0}, ("0", "1 to 1000")),
        ("Sampler", {"audio_start": 0.8, "audio_end": 0.2}, ("0.8", "0.2")),
        ("Sampler", {"steps": 8, "stop_at_step": 9}, ("9 of 8",)),
        ("Sampler", {"strength": "Ben 0.6"}, ("'Ben 0.6'", "Ben: 0.6")),
        ("Sampler", {"strength": "Ben: -1"}, ("Ben: -1",)),
        ("RoutingMasks", {"character": ""}, ("empty",)),
    ],
)
def test_a_bad_value_is_refused_before_the_run(node, inputs, words, nodes):
    sentence = nodes[f"BYAV_{node}"].validate_inputs(**inputs)
    assert isinstance(sentence, str), "it was let through"
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize(
    ("node", "inputs"),
    [
        ("Scene", {"width": None, "height": 64, "frames": None}),  # None: connected to another node, known only later
        ("Character", {"name": None, "box": "120, 40, 280, 230"}),
        ("AudioCharacterMatrix", {"mode": "one to one", "table": "not looked at"}),
        ("AudioCharacterMatrix", {"mode": "custom table", "table": "voice 1: Anna, Ben 0.5\n\nvoice 2: -"}),
        ("Router", {"router": None}),
        ("Router", {"router": "post", "prompt": None, "face_encoder": None}),
        ("Sampler", {"steps": None, "audio_start": None, "audio_end": 0.5, "strength": "Anna: 0.5, Ben: 1"}),
    ],
)
def test_good_values_and_connected_ones_are_let_through(node, inputs, nodes):
    assert nodes[f"BYAV_{node}"].validate_inputs(**inputs) is True


@pytest.fixture
def scene(part):
    """A clip of 9 frames of 48 x 32, whose grid is 3 x 4 x 6."""
    config = part("byav_core.config").tiny()
    return part("byav_core.pipeline").prepare_scene(config, 48, 32, 9)


@pytest.fixture
def cast(people):
    return people("Anna", "Ben")


@pytest.fixture
def given(part):
    """Hand-made masks by name."""
    return lambda **masks: part("nodes.sockets").NamedMasks(masks)


def test_masks_come_in_the_order_of_the_cast_at_the_size_of_the_video(part, scene, cast, given):
    masks = given(Ben=torch.zeros(1, 64, 96), Anna=torch.ones(9, 32, 48))
    stacked = part("nodes.router").given_masks(masks, cast, scene)
    assert stacked.shape == (2, 9, 32, 48)
    assert stacked[0].min() == 1 and stacked[1].max() == 0


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ({"Anna": (1, 32, 48), "Zoe": (1, 32, 48)}, ("Zoe", "Anna, Ben", "rename")),
        ({"Anna": (1, 32, 48)}, ("no mask for Ben",)),
        ({"Anna": (1, 32, 48), "Ben": (5, 32, 48)}, ("Ben", "5 frames", "9")),
        ({"Anna": (1, 32, 48), "Ben": (1, 48, 48)}, ("Ben", "48 x 48", "48 x 32", "another shape")),
    ],
)
def test_masks_that_do_not_fit_the_cast_or_the_clip_are_refused(masks, words, part, scene, cast, given):
    with pytest.raises(ValueError) as refused:
        part("nodes.router").given_masks(given(**{k: torch.ones(v) for k, v in masks.items()}), cast, scene)
    assert all(word in str(refused.value) for word in words), refused.value


def test_two_masks_of_one_name_are_refused(nodes, given):
    with pytest.raises(ValueError, match="two masks for Anna"):
        nodes["BYAV_CharacterMask"].execute("Anna", torch.ones(1, 4, 4), given(Anna=torch.ones(1, 4, 4)))


def test_blanks_around_a_name_do_not_make_another_one(nodes, given):
    with pytest.raises(ValueError, match="two masks for Anna"):
        nodes["BYAV_CharacterMask"].execute(" Anna ", torch.ones(1, 4, 4), given(Anna=torch.ones(1, 4, 4)))


def test_strengths_follow_the_cast(part):
    strengths = part("nodes.sampler").strengths
    assert strengths("Ben: 0.5", ("Anna", "Ben")) == (1.0, 0.5)
    assert strengths("Ben: 0.5, Anna: 0.25", ("Anna", "Ben")) == (0.25, 0.5)
    assert strengths("Smith, Anna: 0.5, Ben: II: 0.2", ("Smith, Anna", "Ben: II")) == (0.5, 0.2)
    assert strengths("", ("Anna", "Ben")) is None
    with pytest.raises(ValueError, match="Zoe.*Anna, Ben"):
        strengths("Zoe: 1", ("Anna", "Ben"))


@pytest.mark.parametrize(("wanted", "name"), [("Ben", "Ben"), (" 1 ", "Anna"), ("2", "Ben")])
def test_characters_are_found_by_name_and_by_number(wanted, name, part, given):
    routing = given(Anna=torch.ones(1, 2, 2), Ben=torch.ones(1, 2, 2))
    assert part("nodes.output").name_of(routing, wanted) == name


@pytest.mark.parametrize("wanted", ["Zoe", "0", "3", "²"])
def test_characters_that_are_not_there_are_said_with_those_who_are(wanted, part, given):
    routing = given(Anna=torch.ones(1, 2, 2), Ben=torch.ones(1, 2, 2))
    with pytest.raises(ValueError, match="Anna, Ben"):
        part("nodes.output").name_of(routing, wanted)


def test_people_encoded_for_another_model_are_refused_by_name(part, people, voices):
    config = part("byav_core.config").released()
    with pytest.raises(ValueError, match="Anna.*Load Face Encoder"):
        part("nodes.conditioning").check_encoders(config, people("Anna"), ())
    with pytest.raises(ValueError, match="a voice.*Load Audio Encoder"):
        part("nodes.conditioning").check_encoders(config, (), voices("a voice"))


def test_the_film_refuses_masks_of_another_run(part):
    with pytest.raises(ValueError, match="5 frames.*9"):
        part("nodes.output").fitted(torch.ones(5, 4, 4), torch.zeros(9, 3, 8, 8))
