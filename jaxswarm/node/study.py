"""What a node learns from: questions to completions and rewards, and these to an update."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np

from jaxswarm.errors import InputError
from jaxswarm.node import batches
from jaxswarm.node.outcome import Asked, Outcome
from jaxswarm.node.parts import NodeConfig, Parts
from jaxswarm.node.progress import Progress
from jaxswarm.records import Discussion
from jaxswarm.stages.registry import StagePlan

Phase = Callable[[str], AbstractContextManager[None]]
"""Shows a phase of the work while its block runs."""

MAX_DROPPED = 3
"""Gradients in a row that may be not finite. One is an accident of a batch."""


class Study:
    """Asks the learner, scores what it says, and has it learn from that."""

    def __init__(self, config: NodeConfig, parts: Parts, progress: Progress):
        """Does nothing yet. `progress`: says what a person should know."""
        self._config = config
        self._parts = parts
        self._progress = progress
        self._has_told_of_long_ones = False
        self._dropped = 0

    def ask(
        self, plan: StagePlan, discussions: Sequence[Discussion], seed: int, phase: Phase
    ) -> Asked:
        """From questions to completions and their rewards."""
        config, parts = self._config, self._parts
        with phase("prompts"):
            prompts = batches.fit(
                parts.tokenizer,
                [plan.messages(discussion) for discussion in discussions],
                config.prompt_buckets,
                config.questions,
            )
        asked = tuple(discussions[index] for index in prompts.kept)
        self._tell_of_long_ones(len(discussions) - len(asked), len(discussions))
        if not asked:
            return Asked((), prompts, None, Outcome.empty())
        with phase("generate"):
            rollout = batches.complete(
                parts.learner.generate,
                parts.tokenizer,
                prompts,
                seed=seed,
                group=config.group,
                limit=config.limit,
                sampling=config.sampling,
            )
        with phase("rewards"):
            texts = batches.texts(parts.tokenizer, prompts, rollout)
            return Asked(asked, prompts, rollout, Outcome.of(plan, asked, texts, rollout))

    def learn(
        self,
        asked: Asked,
        phase: Phase,
        reward_KxG: np.ndarray | None = None,
        external_KxG: np.ndarray | None = None,
    ) -> Outcome:
        """The GRPO step. The arrays are given where some completions are not one's own.

        Raises:
          InputError: the last gradients were all not finite.
        """
        if asked.rollout is None:
            return asked.outcome
        learner = self._parts.learner
        with phase("train"):
            rewards = asked.outcome.rewards if reward_KxG is None else reward_KxG
            batch = batches.learning_batch(
                asked.prompts, asked.rollout, rewards, self._config.row_buckets, external_KxG
            )
            learning_rate = learner.learning_rate
            step = learner.step(batch)
        self._look_at(float(step.grad_norm))
        return asked.outcome.learnt(step, learning_rate, rewards)

    def _tell_of_long_ones(self, left_out: int, count: int) -> None:
        """Says once that prompts are left out, of which the figures of each stage tell more."""
        if left_out and not self._has_told_of_long_ones:
            self._has_told_of_long_ones = True
            longest = max(self._config.prompt_buckets)
            self._progress.say(
                f"{left_out} of {count} prompts have more than {longest} tokens and are left out; "
                "--config.generation.prompt_buckets can have a longer one"
            )

    def _look_at(self, grad_norm: float) -> None:
        """Tells of a gradient that the learner has dropped, and ends a run of nothing else."""
        if math.isfinite(grad_norm):
            self._dropped = 0
            return
        self._dropped += 1
        self._progress.say(f"a gradient was dropped: its norm is {grad_norm}")
        if self._dropped == MAX_DROPPED:
            raise InputError(
                "gradients",
                got=f"{MAX_DROPPED} in a row that are not finite",
                expected="finite ones",
                remedy="lower --config.optimizer.learning_rate; an earlier checkpoint may help too",
            )
