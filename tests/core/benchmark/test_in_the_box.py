"""The weights in the box keep what the measured table says of them: a handful of fixed held-out scenes meets floors
well below its means, so that they hold on any machine. With the built-in voices, which need nothing installed."""

import pytest

from byav_core.benchmark.experiments import MAIN, Run, Setup, measure_here

pytestmark = pytest.mark.slow
SETUP = Setup(((MAIN, "tiny"),), steps=8)
RUNS = (Run("autoencoder", 6, 1), Run("intra", 4, 1), Run("intra, swapped", 4, 1), Run("three", 4, 1))
FLOORS = {  # condition, metric
    ("autoencoder", "binding/true"): 0.9,
    ("autoencoder", "own voice/true"): 0.75,
    ("autoencoder", "identity/true"): 0.85,
    ("intra", "binding/own"): 0.75,
    ("intra", "own voice/own"): 0.6,
    ("intra", "identity/own"): 0.7,
    ("intra", "joint/own"): 0.6,
    ("intra", "prompt/own"): 0.8,
    ("intra", "layout/own"): 0.7,
    ("intra", "iou"): 0.7,
    ("intra", "iou seen"): 0.7,
    ("intra, swapped", "binding/own"): 0.75,
    ("intra, swapped", "own voice/own"): 0.6,
    ("intra, swapped", "response/own"): 0.6,
    ("three", "binding/own"): 0.75,
    ("three", "own voice/own"): 0.6,
    ("three", "iou"): 0.55,
}
CEILINGS = {("intra", "other voice/own"): 0.2, ("intra", "leak/own"): 0.3}


@pytest.fixture(scope="module")
def found():
    return {run.condition: measure_here(SETUP, run) for run in RUNS}


@pytest.mark.parametrize("condition, metric", FLOORS)
def test_the_weights_in_the_box_meet_their_floors(found, condition, metric):
    assert found[condition][metric]["mean"] >= FLOORS[condition, metric]


@pytest.mark.parametrize("condition, metric", CEILINGS)
def test_voices_of_others_move_no_mouth_and_silence_moves_little(found, condition, metric):
    assert found[condition][metric]["mean"] <= CEILINGS[condition, metric]
