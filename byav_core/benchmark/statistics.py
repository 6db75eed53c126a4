"""Scores of scenes to a mean and how sure it is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .scores import Score

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Measured:
    """low, high: of the 95 % confidence interval over scenes. n: how many things were looked at."""

    mean: float
    low: float
    high: float
    n: int


def measured(scenes: Sequence[Score]) -> Measured | None:
    """Percentile bootstrap over scenes, the seeds of a scene staying together; None where nothing was looked at."""
    from scipy.stats import bootstrap

    scenes = [one for one in scenes if one.of]
    if not scenes:
        return None
    amounts, totals = (np.array([getattr(one, name) for one in scenes]) for name in ("amount", "of"))
    mean, n = float(amounts.sum() / totals.sum()), sum(one.n for one in scenes)
    if len(scenes) == 1:
        return Measured(mean, mean, mean, n)
    interval = bootstrap(
        (amounts, totals),
        lambda amount, of, axis: amount.sum(axis=axis) / of.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        random_state=0,
    ).confidence_interval
    return Measured(mean, float(interval.low), float(interval.high), n)
