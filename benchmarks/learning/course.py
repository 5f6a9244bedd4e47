"""When the nodes of a run are measured, and when the run is over: the same for all of them.

A decision after round r reads what all nodes spent up to round r and nothing later, so that it does
not depend on which of them gets there first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.learning.twin import Twin

HOPELESS_SHARE = 0.8
"""Of groups without variance, above which nothing can be learnt."""

HOPELESS_UPDATES = 12
"""How many updates on end must be so, over all nodes."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows after a round."""

    measure: bool
    over: bool
    hopeless: bool


class Course:
    """Of one run. Threads may ask it: what it reads is only ever added to."""

    def __init__(
        self, learners: Sequence[Twin], updates_a_round: int, tokens: float, measurements: int
    ):
        """`tokens`: that each node may generate. It is measured so many times on the way."""
        self._learners = learners
        self._updates = updates_a_round
        self._tokens = tokens
        self._measurements = measurements

    def after(self, rounds: int) -> Verdict:
        """After so many rounds. All nodes have learnt from them, some perhaps from more."""
        done = rounds * self._updates
        spent = [learner.spent[:done] for learner in self._learners]
        assert all(len(updates) == done for updates in spent), [len(u) for u in spent]
        tokens = float(np.mean([sum(update.generated for update in updates) for updates in spent]))
        before = float(
            np.mean([sum(u.generated for u in updates[: -self._updates]) for updates in spent])
        )
        last = [update.uniform for updates in spent for update in updates[-HOPELESS_UPDATES:]]
        hopeless = done >= HOPELESS_UPDATES and float(np.mean(last)) > HOPELESS_SHARE
        over = hopeless or tokens >= self._tokens
        passed = self._mark(tokens) > self._mark(before)
        return Verdict(measure=passed or over, over=over, hopeless=hopeless)

    def _mark(self, tokens: float) -> int:
        return int(self._measurements * tokens / self._tokens)
