"""Learners of several nodes in one process, over one set of compiled programs."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxswarm.learner.generate import Rollout
from jaxswarm.learner.learner import Learner
from jaxswarm.learner.train_step import Batch, StepMetrics


class Spent(NamedTuple):
    """What one update took."""

    generated: int
    """Tokens drawn since the update before."""
    learnt: int
    """Tokens back-propagated."""
    uniform: float
    """Share of groups whose rewards are all equal: they teach nothing."""


class Twin(Learner):
    """A learner with a state of its own and another's programs, so that each compiles once."""

    def __init__(self, of: Learner, params: Any = None):
        """`params`: to start from, on the device; the other's where None."""
        self.__dict__.update(vars(of))
        state = of.state if params is None else of.state._replace(params=params)
        self.state = jax.tree.map(jnp.copy, state)
        self.spent: list[Spent] = []
        """One entry an update."""
        self._drawn = 0

    def generate(
        self, prompt_QxP: np.ndarray, length_Q: np.ndarray, *, seed: int, **static: Any
    ) -> Rollout[np.ndarray]:
        """As a learner's; the tokens count. To measure, not to learn, use `ask`."""
        rollout = self.ask(prompt_QxP, length_Q, seed=seed, **static)
        self._drawn += int(np.sum(rollout.length_QxG))
        return rollout

    def ask(
        self, prompt_QxP: np.ndarray, length_Q: np.ndarray, *, seed: int, **static: Any
    ) -> Rollout[np.ndarray]:
        """Completions that count in nothing."""
        return super().generate(prompt_QxP, length_Q, seed=seed, **static)

    def step(self, batch: Batch[np.ndarray]) -> StepMetrics:
        """As a learner's; what it took is in `spent`."""
        metrics = super().step(batch)
        groups = batch.reward_QxG[batch.length_QxG.max(axis=1) > 0]
        uniform = float(np.mean(np.ptp(groups, axis=1) == 0))
        self.spent.append(Spent(self._drawn, int(np.sum(batch.length_QxG)), uniform))
        self._drawn = 0
        return metrics
