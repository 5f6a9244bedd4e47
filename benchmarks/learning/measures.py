"""What is measured of one node on held-out questions, answer by answer.

No measure chooses by gold: a majority is that of final numbers, the earliest of equals.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxswarm.learner.generator import Generate
from jaxswarm.learner.sampling import GREEDY, Sampling
from jaxswarm.node import batches
from jaxswarm.node.held_out import EvaluationConfig
from jaxswarm.records import Discussion, Question
from jaxswarm.stages.answers import final_answer
from jaxswarm.stages.registry import StagePlan
from jaxswarm.tokenizer import Tokenizer

SAMPLES = 8
"""Completions of each question at temperature 1."""


@dataclass(frozen=True, slots=True)
class Replies:
    """G texts to each question; a question whose prompt fits no bucket has blank ones."""

    texts: list[list[str]]
    tokens: int
    """Of all texts together."""


@dataclass(frozen=True, slots=True)
class Reader:
    """How questions are asked of a model."""

    tokenizer: Tokenizer
    config: EvaluationConfig

    def ask(
        self,
        ask: Generate,
        plan: StagePlan,
        discussions: Sequence[Discussion],
        sampling: Sampling,
        group: int,
        seed: int,
    ) -> Replies:
        """A plan's prompts for these discussions, and what comes back."""
        texts, tokens, size = [[""] * group for _ in discussions], 0, self.config.batch
        for start in range(0, len(discussions), size):
            part = discussions[start : start + size]
            prompts = batches.fit(
                self.tokenizer,
                [plan.messages(discussion) for discussion in part],
                self.config.prompt_buckets,
                size,
            )
            if prompts.is_empty:
                continue
            rollout = batches.complete(
                ask,
                self.tokenizer,
                prompts,
                seed=seed + start,
                group=group,
                limit=self.config.limit,
                sampling=sampling,
            )
            replies = batches.texts(self.tokenizer, prompts, rollout)
            for index, group_texts in zip(prompts.kept, replies, strict=True):
                texts[start + index] = group_texts
            tokens += int(np.sum(rollout.length_QxG))
        return Replies(texts, tokens)


@dataclass(frozen=True, slots=True)
class Exam:
    """The questions that a node is measured by; only the embedded data have the last two."""

    held_out: tuple[Question, ...]
    new_numbers: tuple[Question, ...]
    """In the training's sentences: how well what was trained was learnt."""
    four_steps: tuple[Question, ...]
    """Out of distribution."""


@dataclass(frozen=True, slots=True)
class Quick:
    """Greedy replies to the answer-stage prompt, means over the questions."""

    accuracy: float
    format_rate: float
    reward: float
    """By the corrected rewards, whatever the arm learns from."""
    length: float
    """Tokens of a reply."""


@dataclass(frozen=True, slots=True)
class Full:
    """One figure a question, in their order; shares in [0, 1]."""

    greedy: list[float]
    greedy_format: list[float]
    sampled: list[float]
    """Share of right ones among `SAMPLES`."""
    sampled_format: list[float]
    passed: list[float]
    """Whether any of them is right: pass@8."""
    majority: list[float]
    """Whether what most of them say is right."""
    new_numbers: list[float]
    """As `sampled`, in the training's sentences."""
    four_steps: list[float]
    """Greedy, on the problems out of distribution."""
    sampled_length: float
    """Mean tokens of a sampled reply."""


def quick(reader: Reader, ask: Generate, plan: StagePlan, questions: Sequence[Question]) -> Quick:
    """Cheap enough for a point of a curve."""
    discussions = [Discussion(question) for question in questions]
    replies = reader.ask(ask, plan, discussions, GREEDY, 1, 0)
    pairs = [(texts[0], about) for texts, about in zip(replies.texts, discussions, strict=True)]
    return Quick(
        accuracy=_mean(plan.is_right(text, about) for text, about in pairs),
        format_rate=_mean(plan.is_well_formed(text) for text, _ in pairs),
        reward=_mean(plan.score(text, about).total for text, about in pairs),
        length=replies.tokens / len(questions),
    )


def full(
    reader: Reader,
    ask: Generate,
    plan: StagePlan,
    exam: Exam,
    seed: int,
) -> tuple[Full, list[list[str]]]:
    """Also gives the sampled texts on the held-out questions, for votes of several nodes."""

    def greedy(questions: Sequence[Question]) -> list[tuple[str, Discussion]]:
        about = [Discussion(question) for question in questions]
        texts = reader.ask(ask, plan, about, GREEDY, 1, 0).texts
        return [(group[0], asked) for group, asked in zip(texts, about, strict=True)]

    def sampled(questions: Sequence[Question]) -> tuple[Replies, list[list[bool]]]:
        about = [Discussion(question) for question in questions]
        drawn = reader.ask(ask, plan, about, Sampling(), SAMPLES, seed)
        pairs = zip(drawn.texts, about, strict=True)
        return drawn, [[plan.is_right(text, asked) for text in texts] for texts, asked in pairs]

    replies = greedy(exam.held_out)
    drawn, right = sampled(exam.held_out)
    _, right_new = sampled(exam.new_numbers)
    measured = Full(
        greedy=[float(plan.is_right(text, about)) for text, about in replies],
        greedy_format=[float(plan.is_well_formed(text)) for text, _ in replies],
        sampled=[_mean(group) for group in right],
        sampled_format=[_mean(plan.is_well_formed(t) for t in texts) for texts in drawn.texts],
        passed=[float(any(group)) for group in right],
        majority=[
            float(majority(texts) == question.gold)
            for texts, question in zip(drawn.texts, exam.held_out, strict=True)
        ],
        new_numbers=[_mean(group) for group in right_new],
        four_steps=[float(plan.is_right(text, about)) for text, about in greedy(exam.four_steps)],
        sampled_length=drawn.tokens / (SAMPLES * len(exam.held_out)),
    )
    return measured, drawn.texts


def majority(texts: Sequence[str]) -> str | None:
    """The final number that most texts give; None where none gives any."""
    counts = Counter(answer for text in texts if (answer := final_answer(text)) is not None)
    return counts.most_common(1)[0][0] if counts else None


def _mean(values) -> float:
    return float(np.mean([float(value) for value in values]))
