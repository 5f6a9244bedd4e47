"""Held-out accuracy with the answer-stage prompt: greedy, and the mean of several samples.

No vote, no peer and no choice by gold has a part in it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jaxswarm.learner.generator import Generate
from jaxswarm.learner.sampling import GREEDY, Sampling
from jaxswarm.node import batches
from jaxswarm.records import Discussion, Question
from jaxswarm.stages.registry import StagePlan
from jaxswarm.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """How held-out questions are asked."""

    questions: int
    """How many, from the first; 0: none, no evaluation."""
    samples: int
    """Completions a question for the sampled accuracy, at temperature 1; 0: greedy only."""
    batch: int
    """Questions at a time."""
    limit: int
    """Tokens of a reply."""
    prompt_buckets: tuple[int, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """pass@1 over the questions whose prompt fitted; NaN where none did."""

    questions: int
    skipped: int
    """Questions whose prompt fits no bucket. They count in nothing else."""
    greedy: float
    greedy_format: float
    """Share of greedy replies in the asked form."""
    sampled: float | None
    """Mean over all samples; None where none were asked for."""
    sampled_format: float | None
    """Share of the samples in the asked form."""


def evaluate(
    generate: Generate,
    tokenizer: Tokenizer,
    plan: StagePlan,
    questions: Sequence[Question],
    config: EvaluationConfig,
    on_progress: Callable[[int, int], None],
) -> Evaluation:
    """Asks the first `config.questions` questions.

    Args:
      generate: with the parameters to measure.
      tokenizer: the model's.
      plan: the answer stage's.
      questions: held-out ones.
      config: sizes.
      on_progress: told (questions done, questions in all) after each batch.
    """
    asked = questions[: config.questions]
    right: dict[str, list[float]] = {"greedy": [], "sampled": []}
    formed: dict[str, list[float]] = {"greedy": [], "sampled": []}
    skipped = 0
    for start in range(0, len(asked), config.batch):
        part = [Discussion(question) for question in asked[start : start + config.batch]]
        prompts = batches.fit(
            tokenizer, [plan.messages(d) for d in part], config.prompt_buckets, config.batch
        )
        skipped += len(part) - len(prompts.kept)
        for kind, sampling, group in (
            ("greedy", GREEDY, 1),
            ("sampled", Sampling(), config.samples),
        ):
            if group == 0 or prompts.is_empty:
                continue
            rollout = batches.complete(
                generate,
                tokenizer,
                prompts,
                seed=config.seed + start,
                group=group,
                limit=config.limit,
                sampling=sampling,
            )
            for index, replies in zip(
                prompts.kept, batches.texts(tokenizer, prompts, rollout), strict=True
            ):
                right[kind] += [float(plan.is_right(reply, part[index])) for reply in replies]
                formed[kind] += [float(plan.is_well_formed(reply)) for reply in replies]
        on_progress(min(start + config.batch, len(asked)), len(asked))
    return Evaluation(
        questions=len(asked) - skipped,
        skipped=skipped,
        greedy=_mean(right["greedy"]),
        greedy_format=_mean(formed["greedy"]),
        sampled=_mean(right["sampled"]) if config.samples else None,
        sampled_format=_mean(formed["sampled"]) if config.samples else None,
    )


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else math.nan
