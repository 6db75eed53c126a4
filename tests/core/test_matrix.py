import pytest
import torch

from byav_core.matrix import AudioCharacterMatrix, from_table, one_to_one, predict, swapped
from byav_core.types import Audio, Character, FaceFeatures, SpeechStream, silence

VOICES, PEOPLE = ("low", "high"), ("Anna", "Ben", "Person 2")


def rows(matrix: AudioCharacterMatrix) -> list[list[float]]:
    return matrix.values.tolist()


# given


def test_one_to_one_leaves_characters_without_a_voice_silent():
    matrix = one_to_one(VOICES, PEOPLE)
    assert rows(matrix) == [[1, 0, 0], [0, 1, 0]]
    assert matrix.silent == ("Person 2",)
    assert matrix.tensor.shape == (1, 2, 3)


def test_more_voices_than_characters_do_not_go_one_to_one():
    with pytest.raises(ValueError, match=r"2 voices \(low, high\) cannot go one to one to 1 character \(Anna\)"):
        one_to_one(VOICES, ("Anna",))


def test_two_swap_and_of_more_nobody_keeps_the_own_voice():
    assert rows(swapped(VOICES, ("Anna", "Ben"))) == [[0, 1], [1, 0]]
    for n in (2, 3, 4, 5):
        names = tuple("abcde"[:n])
        straight, crossed = one_to_one(names, names).values, swapped(names, names).values
        assert (straight * crossed).sum() == 0 and crossed.sum(dim=0).eq(1).all()


def test_a_single_voice_swaps_to_the_other_character():
    assert rows(swapped(("low",), ("Anna", "Ben"))) == [[0, 1]]


@pytest.mark.parametrize("m, n", [(3, 3), (2, 2), (3, 2)])
def test_shape_and_names_must_fit(m, n):
    with pytest.raises(
        ValueError, match=rf"of {m} rows and {n} columns does not fit 2 voices \(low, high\) and 3 char"
    ):
        AudioCharacterMatrix(torch.zeros(m, n), VOICES, PEOPLE)


@pytest.mark.parametrize("value, said", [(1.5, "1.5"), (-0.1, "-0.1"), (float("nan"), "nan"), (float("inf"), "inf")])
def test_values_must_be_shares(value, said):
    values = torch.zeros(2, 3)
    values[1, 2] = value
    with pytest.raises(ValueError, match=f"voice high drives Person 2 by {said}; expected a number in 0..1"):
        AudioCharacterMatrix(values, VOICES, PEOPLE)


def test_a_name_is_used_once():
    with pytest.raises(ValueError, match="two characters have the same name among Anna, Anna"):
        one_to_one(("low",), ("Anna", "Anna"))
    with pytest.raises(ValueError, match="two voices have the same name"):
        one_to_one(("low", "low"), PEOPLE)


# tables


@pytest.mark.parametrize(
    "text, expected",
    [
        ("low: Anna\nhigh: Ben", [[1, 0, 0], [0, 1, 0]]),
        ("high: Anna\nlow: Ben, Person 2", [[0, 1, 1], [1, 0, 0]]),
        ("low: Anna 0.5, Ben 0.25", [[0.5, 0.25, 0], [0, 0, 0]]),
        ("low: Person 2", [[0, 0, 1], [0, 0, 0]]),
        ("low: Person 2 0.5", [[0, 0, 0.5], [0, 0, 0]]),
        ("low: -\nhigh:", [[0, 0, 0], [0, 0, 0]]),
        ("\n  LOW :  anna ,ben  \n\n", [[1, 1, 0], [0, 0, 0]]),
        ("low: Anna\nhigh: Anna", [[1, 0, 0], [1, 0, 0]]),
    ],
)
def test_a_table_says_who_speaks_with_which_voice(text, expected):
    assert rows(from_table(text, VOICES, PEOPLE)) == expected


@pytest.mark.parametrize(
    "text, sentence",
    [
        (" \n", "the table is empty; write one line for each voice, such as 'low: Anna'"),
        ("low Anna", "'low Anna' has no colon; write such as 'low: Anna'"),
        ("alto: Anna", "'alto: Anna' names no voice known here; known are low, high"),
        (
            "low: Ann",
            "'Ann' in 'low: Ann' is no character known here, nor one with a weight; known are Anna, Ben, Person 2",
        ),
        ("low: Anna much", "'Anna much' in 'low: Anna much' is no character"),
        ("low: Anna, Anna 0.5", "'low: Anna, Anna 0.5' names Anna twice"),
        ("low: Anna\nLow: Ben", "voice low has two lines"),
        ("low: Anna 2", "voice low drives Anna by 2; expected a number in 0..1"),
        ("low: Anna nan", "voice low drives Anna by nan"),
    ],
)
def test_a_table_that_cannot_be_read_is_quoted(text, sentence):
    with pytest.raises(ValueError) as error:
        from_table(text, VOICES, PEOPLE)
    assert sentence in str(error.value)


def test_names_with_colons_and_differing_capitals_are_told_apart():
    voices, people = ("mic: left", "mic"), ("Max", "max")
    assert rows(from_table("mic: left: max\nmic: Max", voices, people)) == [[0, 1], [1, 0]]
    with pytest.raises(ValueError, match="'MAX' in .* is no character"):
        from_table("mic: MAX", voices, people)


def test_a_name_may_hold_commas():
    people = ("Smith, Anna", "Anna", "Ben")
    assert rows(from_table("low: Smith, Anna 0.5, Ben\nhigh: Anna, Ben", VOICES, people)) == [[0.5, 0, 1], [0, 1, 1]]


@pytest.mark.parametrize("values", [[[1, 0, 0], [0, 1, 0]], [[0, 0, 0], [0.5, 1, 0.25]], [[0, 0, 0], [0, 0, 0]]])
def test_a_matrix_written_as_a_table_reads_the_same(values):
    matrix = AudioCharacterMatrix(torch.tensor(values, dtype=torch.float32), VOICES, PEOPLE)
    assert rows(from_table(matrix.to_table(), VOICES, PEOPLE)) == values


# predicted


def person(name: str) -> Character:
    return Character(name, torch.zeros(3, 2, 2), FaceFeatures(torch.zeros(1), (), torch.zeros(3, 2, 2)))


def voice(name: str, level: float, seconds: float = 10.0, rate: int = 100) -> SpeechStream:
    audio = Audio(torch.full((round(seconds * rate),), level), rate)
    return SpeechStream(name, audio, torch.zeros(3, 2, 4))


CAST = tuple(person(name) for name in PEOPLE)
LEVELS = torch.tensor([0.2, 0.5, 0.8])  # how loud each of the cast speaks, to the scorer below


class ByLevel:
    """Knows the cast by their level; in the windows named it takes them for each other."""

    def __init__(self, wrong=()):
        self.wrong, self.heard = wrong, []

    def __call__(self, voices, cast):
        levels = torch.stack([audio.waveform.abs().max() for audio in voices])
        self.heard.append(tuple(round(level, 2) for level in levels.tolist()))
        scores = -(levels[:, None] - LEVELS[: len(cast)]).abs()
        return scores.flip(1) if len(self.heard) - 1 in self.wrong else scores


def test_windows_vote_each_voice_to_its_face():
    prediction = predict(ByLevel(), (voice("low", 0.5), voice("high", 0.2)), CAST)
    assert rows(prediction.matrix) == [[0, 1, 0], [1, 0, 0]]
    assert prediction.matrix.streams == VOICES and prediction.matrix.silent == ("Person 2",)
    assert prediction.abstention == ""
    assert prediction.confidence == pytest.approx((6 / 8, 6 / 8, 7 / 8))


def test_the_majority_of_windows_wins_and_doubt_costs_confidence():
    streams = (voice("low", 0.2, 40), voice("high", 0.5, 40))
    sure, unsure = (predict(ByLevel(wrong), streams, CAST[:2]) for wrong in ((), (3, 7)))
    assert rows(sure.matrix) == rows(unsure.matrix) == [[1, 0], [0, 1]]
    assert sure.confidence == pytest.approx((21 / 22,) * 2)
    assert unsure.confidence == pytest.approx((19 / 22,) * 2)


def test_undecided_windows_abstain_with_a_sentence():
    streams = (voice("low", 0.2, 20), voice("high", 0.5, 20))
    prediction = predict(ByLevel(wrong=range(5)), streams, CAST[:2])
    assert prediction.matrix is None
    assert "Anna (50% sure), Ben (50% sure), where 70% is asked for; say in the" in prediction.abstention


def test_few_windows_do_not_make_certain():
    streams = (voice("low", 0.2, 2), voice("high", 0.5, 2))
    assert predict(ByLevel(), streams, CAST[:2]).matrix is None
    assert predict(ByLevel(), streams, CAST[:2], window_seconds=0.25).matrix is not None


def test_a_silent_voice_does_not_vote_and_is_named():
    scorer = ByLevel()
    streams = (voice("low", 0.2), SpeechStream("high", silence(10.0, 100), torch.zeros(3, 2, 4)))
    prediction = predict(scorer, streams, CAST[:2])
    assert scorer.heard == [(0.2,)] * 5
    assert prediction.matrix is None and "nothing is heard of high" in prediction.abstention


def test_voices_of_different_length_and_rate_share_windows():
    scorer = ByLevel()
    predict(scorer, (voice("low", 0.2, 3, rate=100), voice("high", 0.5, 6, rate=70)), CAST)
    assert scorer.heard == [(0.2, 0.5), (0.2, 0.5), (0.5,)]


def test_one_voice_for_one_character_needs_no_proof():
    assert rows(predict(ByLevel(), (voice("low", 0.9),), CAST[:1]).matrix) == [[1]]


def test_nobody_speaking_is_an_empty_matrix():
    assert predict(ByLevel(), (), CAST).matrix.values.shape == (0, 3)


def test_more_voices_than_characters_cannot_be_matched():
    with pytest.raises(ValueError, match="add characters, remove voices"):
        predict(ByLevel(), (voice("low", 0.2), voice("high", 0.5)), CAST[:1])


def test_scores_that_are_not_numbers_are_refused():
    def broken(voices, cast):
        return torch.full((len(voices), len(cast)), float("nan"))

    with pytest.raises(ValueError, match="scorer returned values that are not numbers"):
        predict(broken, (voice("low", 0.2),), CAST)


def test_windows_need_a_length():
    with pytest.raises(ValueError, match="windows of 0 seconds cannot vote"):
        predict(ByLevel(), (voice("low", 0.2),), CAST, window_seconds=0.0)
