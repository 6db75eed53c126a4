"""The weights in the box keep what the measured table says of them: a handful of fixed held-out scenes meets floors
well below its means, so that they hold on any machine. With the built-in voices, which need nothing installed."""

import pytest

from byav_core.benchmark.experiments import MAIN, Run, Setup, measure_here

pytestmark = pytest.mark.slow
SETUP = Setup(((MAIN, "tiny"),), steps=8, audio=4.0)
RUNS = (Run("autoencoder", 6, 1), Run("intra", 4, 1), Run("intra, swapped", 4, 1))
FLOORS = {  # condition, metric
    ("autoencoder", "binding/true"): 0.9,
    ("autoencoder", "own voice/true"): 0.75,
    ("autoencoder", "identity/true"): 0.85,
    ("intra", "identity/own"): 0.7,
    ("intra", "prompt/own"): 0.8,
    ("intra", "layout/own"): 0.5,
    ("intra", "iou"): 0.5,
    ("intra", "iou seen"): 0.5,
    ("intra, swapped", "response/own"): 0.25,
}


@pytest.fixture(scope="module")
def found():
    return {run.condition: measure_here(SETUP, run) for run in RUNS}


@pytest.mark.parametrize("condition, metric", FLOORS)
def test_the_weights_in_the_box_meet_their_floors(found, condition, metric):
    assert found[condition][metric]["mean"] >= FLOORS[condition, metric]
