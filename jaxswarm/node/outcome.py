"""What a node's own completions of one stage came to: texts, scores, and the figures of both."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from jaxswarm.learner.generate import Rollout
from jaxswarm.learner.train_step import StepMetrics
from jaxswarm.node.batches import Prompts
from jaxswarm.records import Discussion, Position, Score
from jaxswarm.report.reports import StageReport
from jaxswarm.stages.registry import StagePlan


@dataclass(frozen=True, slots=True)
class Outcome:
    """Completions of the questions that were asked, G of each, in the order of the questions."""

    texts: tuple[tuple[str, ...], ...]
    scores: tuple[tuple[Score, ...], ...]
    right: np.ndarray
    """[asked, G] bool: the final answer, or the pick, is right."""
    formed: np.ndarray
    """[asked, G] bool: the text keeps the stage's form."""
    lengths: np.ndarray
    """[asked, G] tokens."""
    ended: np.ndarray
    """[asked, G] bool: not cut at the limit."""
    step: StepMetrics | None = None
    """None until the node has learnt from it, and where nothing was asked."""
    learning_rate: float = math.nan
    learnt_reward_QxG: np.ndarray | None = None
    """Rewards of what the node has learnt from: some of peers where it shares rollouts."""

    @staticmethod
    def of(
        plan: StagePlan,
        asked: Sequence[Discussion],
        texts: Sequence[Sequence[str]],
        rollout: Rollout[np.ndarray],
    ) -> "Outcome":
        """Scores the texts of a rollout. Rows of the rollout beyond `asked` are fillers."""
        pairs = list(zip(texts, asked, strict=True))
        return Outcome(
            texts=tuple(tuple(group) for group in texts),
            scores=tuple(tuple(plan.score(text, d) for text in group) for group, d in pairs),
            right=np.array([[plan.is_right(text, d) for text in group] for group, d in pairs]),
            formed=np.array([[plan.is_well_formed(text) for text in group] for group in texts]),
            lengths=rollout.length_QxG[: len(asked)],
            ended=rollout.ended_QxG[: len(asked)],
        )

    @staticmethod
    def empty() -> "Outcome":
        """That of a stage in which no prompt fitted."""
        nothing = np.zeros((0, 0))
        return Outcome((), (), nothing, nothing, nothing, nothing)

    @property
    def rewards(self) -> np.ndarray:
        """[asked, G] total rewards, float64."""
        return np.array([[score.total for score in group] for group in self.scores])

    def learnt(self, step: StepMetrics, learning_rate: float, reward_QxG: np.ndarray) -> "Outcome":
        """The same with what the train step told, and the rewards that it learnt from."""
        return replace(self, step=step, learning_rate=learning_rate, learnt_reward_QxG=reward_QxG)


@dataclass(frozen=True, slots=True)
class Asked:
    """A stage's questions, those whose prompts fitted, and this node's own completions of them."""

    discussions: tuple[Discussion, ...]
    prompts: Prompts
    rollout: Rollout[np.ndarray] | None
    """None where no prompt fitted."""
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Heard:
    """What a stage brought in of others, counted: outputs, and completions in training groups."""

    outputs_read: int = 0
    missing: int = 0
    late_used: int = 0
    late_unused: int = 0
    external: int = 0


def stage_report(
    outcome: Outcome,
    heard: Heard,
    *,
    position: Position,
    seconds: float,
    phase_seconds: Mapping[str, float],
    questions: int,
    has_reference: bool,
    peers: int,
    stages: int,
    refused: Mapping[str, int],
) -> StageReport:
    """The figures of a stage for the metrics. `questions` counts those of the round."""
    reward_QxG = outcome.rewards
    learnt_QxG = reward_QxG if outcome.learnt_reward_QxG is None else outcome.learnt_reward_QxG
    names = outcome.scores[0][0].parts if outcome.scores else ()
    everyone = [score for group in outcome.scores for score in group]
    step = outcome.step
    return StageReport(
        position=position,
        seconds=seconds,
        reward=_mean(reward_QxG),
        reward_parts={name: _mean([score.parts[name] for score in everyone]) for name in names},
        correct_rate=_mean(outcome.right),
        format_rate=_mean(outcome.formed),
        completion_length=_mean(outcome.lengths),
        truncated_share=_mean(1 - outcome.ended),
        loss=math.nan if step is None else float(step.loss),
        grad_norm=math.nan if step is None else float(step.grad_norm),
        kl=float(step.kl) if has_reference and step is not None else None,
        clip_fraction=math.nan if step is None else float(step.clip_fraction),
        entropy=math.nan if step is None else float(step.entropy),
        sampler_gap=math.nan if step is None else float(step.sampler_gap),
        learning_rate=outcome.learning_rate,
        zero_variance_share=_mean([len(set(group)) == 1 for group in learnt_QxG.tolist()]),
        tokens_per_s=float(outcome.lengths.sum()) / max(phase_seconds.get("generate", 0.0), 1e-9),
        phase_seconds=dict(phase_seconds),
        questions=questions,
        skipped_prompts=questions - len(outcome.scores),
        peers=peers,
        outputs_read=heard.outputs_read,
        missing=heard.missing,
        late_used=heard.late_used,
        late_unused=heard.late_unused,
        external=heard.external,
        stages=stages,
        refused=refused,
    )


def _mean(values: np.ndarray | Sequence[float]) -> float:
    return float(np.mean(values)) if np.size(values) else math.nan
