"""Means over runs with 95% intervals: bootstrap over runs and over questions.

The unit is the run. A measure is a table [runs, questions]; each draw takes as many runs and as
many questions as there are, with replacement. Arms that are compared had the same seeds, so that
their runs are drawn in pairs where both have them. With one run there is no interval.

Of few runs a bootstrap is too sure: its variance has n - 1 in place of n, and its tails are the
normal's in place of Student's. Both are made up for by one factor on what the drawn runs are off
the mean (1.58 with five runs); questions are many, and need none.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

DRAWS = 4000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and where 95% of the draws lie; NaN edges with fewer than two runs."""

    mean: float
    low: float
    high: float
    runs: int

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        """In points: 100 times."""
        if math.isnan(self.low):
            return f"{100 * self.mean:.1f} (1 run)"
        return f"{100 * self.mean:.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def interval(values_RxQ: np.ndarray) -> Interval:
    """Of the mean over runs and questions; [R, 1] where a run has one figure."""
    values_RxQ = np.asarray(values_RxQ, float)
    runs, questions = values_RxQ.shape
    mean = float(values_RxQ.mean())
    if runs < 2:
        return Interval(mean, math.nan, math.nan, runs)
    off_R, off_Q = values_RxQ.mean(axis=1) - mean, values_RxQ.mean(axis=0) - mean
    rest_RxQ = values_RxQ - mean - off_R[:, None] - off_Q
    random_ = np.random.default_rng(0)
    run_DxR = random_.integers(runs, size=(DRAWS, runs))
    question_DxQ = random_.integers(questions, size=(DRAWS, questions))
    rest_DxQ = rest_RxQ[run_DxR].mean(axis=1)
    draws_D = (
        widening(runs) * off_R[run_DxR].mean(axis=1)
        + off_Q[question_DxQ].mean(axis=1)
        + np.take_along_axis(rest_DxQ, question_DxQ, axis=1).mean(axis=1)
    )
    low, high = mean + np.percentile(draws_D, [2.5, 97.5])
    return Interval(mean, float(low), float(high), runs)


def widening(runs: int) -> float:
    """How much further than the drawn runs' mean a mean of so many runs may lie."""
    tails = stats.t.ppf(0.975, runs - 1) / stats.norm.ppf(0.975)
    return float(tails * math.sqrt(runs / (runs - 1)))


def relative_regret(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """max(own_t, other_t) - own_t, pointwise, as RL Swarm's report has it; [T] each."""
    return np.maximum(own, other) - own


def time_average(values: np.ndarray) -> np.ndarray:
    """The mean of the values up to each point; [T]."""
    return np.cumsum(values) / np.arange(1, len(values) + 1)
