"""Means over scenes and how sure they are."""

from byav_core.benchmark.scores import Score
from byav_core.benchmark.statistics import measured


def test_scenes_weigh_by_what_was_asked_in_them():
    found = measured([Score(2, 2, 2), Score(0, 1, 1)])
    assert found.mean == 2 / 3 and found.n == 3


def test_the_interval_holds_the_mean_and_narrows_with_scenes():
    few, many = (measured([Score(i % 2, 1, 1) for i in range(count)]) for count in (8, 128))
    assert few.low <= few.mean <= few.high
    assert many.high - many.low < 0.5 * (few.high - few.low)


def test_scenes_that_agree_leave_no_doubt():
    assert measured([Score(1, 1, 1)] * 5).low == 1.0


def test_a_single_scene_has_an_interval_of_itself_and_none_has_no_score():
    one = measured([Score(1, 2, 2)])
    assert (one.low, one.mean, one.high) == (0.5, 0.5, 0.5)
    assert measured([Score(), Score()]) is None
