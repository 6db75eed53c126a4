"""What was aimed at beside what was found, and how sure that is."""

import pytest

from byav_core.benchmark.conditions import CONDITIONS
from byav_core.benchmark.goals import GOALS, Goal, Reading


def found(**conditions):
    return {
        name: {"joint/own": dict(zip(("mean", "low", "high"), told, strict=True))} for name, told in conditions.items()
    }


@pytest.mark.parametrize(
    "told, verdict",
    [
        ((0.9, 0.85, 0.95), "yes"),
        ((0.9, 0.75, 0.95), "yes, not certain"),
        ((0.7, 0.6, 0.85), "no, not certain"),
        ((0.7, 0.6, 0.75), "no"),
    ],
)
def test_a_bound_within_the_interval_is_not_certain(told, verdict):
    goal = Goal("claim", "intra", "joint/own", least=0.8)
    assert goal.verdict(goal.reading(found(intra=told))) == verdict


def test_a_difference_is_less_sure_than_either_side():
    goal = Goal("claim", "a", "joint/own", least=0.0, less="b")
    reading = goal.reading(found(a=(0.9, 0.86, 0.92), b=(0.7, 0.65, 0.73)))
    assert reading.value == pytest.approx(0.2)
    assert (reading.low, reading.high) == (pytest.approx(0.2 - 0.05), pytest.approx(0.2 + (0.02**2 + 0.05**2) ** 0.5))
    assert goal.verdict(reading) == "yes"


def test_a_quotient_of_two_exact_numbers_is_exact():
    goal = Goal("claim", "a", "joint/own", most=0.5, divided_by="b")
    assert goal.reading(found(a=(20.0,) * 3, b=(30.0,) * 3)) == Reading(20 / 30, 20 / 30, 20 / 30)
    assert goal.verdict(Reading(0.4, 0.4, 0.4)) == "yes"


def test_what_was_not_measured_has_no_reading():
    assert Goal("claim", "a", "joint/own", least=0.0, less="b").reading(found(a=(1.0,) * 3)) is None
    assert Goal("claim", "a", "iou", least=0.0).reading(found(a=(1.0,) * 3)) is None


def test_every_goal_is_of_conditions_that_are_measured():
    for goal in GOALS:
        assert {goal.condition, goal.less or goal.condition, goal.divided_by or goal.condition} <= CONDITIONS.keys()
        assert (goal.least is None) != (goal.most is None)
