"""The figures of a node's life, and how they stand in `metrics.jsonl`. Standard library only.

Whoever draws curves reads them here and needs no TensorBoard.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from jaxswarm.records import STAGES, Position, Stage
from jaxswarm.report.files import as_document, read_lines

METRICS_FILE = "metrics.jsonl"

CONSENSUS = "consensus_correctness"
"""The resolve stage's criterion that the published system plots on its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """One stage of one round, over all completions of all its questions.

    Rates and shares lie in [0, 1]. A figure that a stage could not have (a loss without a
    completion to learn from) is NaN.
    """

    position: Position
    seconds: float
    """When the stage ended, since the node joined."""
    reward: float
    """Mean total reward of a completion."""
    reward_parts: Mapping[str, float]
    """Mean of each criterion, weight included, by its name. They add up to `reward`."""
    correct_rate: float
    """Share of completions whose final answer (critique: whose pick) is right."""
    format_rate: float
    completion_length: float
    """Mean, in tokens."""
    truncated_share: float
    """Completions that were cut at the limit."""
    loss: float
    grad_norm: float
    """Global norm before clipping."""
    kl: float | None
    """To the reference, in nats a token; None without one (beta 0)."""
    clip_fraction: float
    entropy: float
    """Of the policy, in nats a token."""
    sampler_gap: float
    """Mean absolute difference between sampler's and learner's log-probs of the sampled tokens."""
    learning_rate: float
    zero_variance_share: float
    """Groups whose rewards are all equal: they taught nothing."""
    tokens_per_s: float
    """Generated tokens over the time of generation."""
    phase_seconds: Mapping[str, float]
    """Wall time by phase: prompts, generate, rewards, train, publish, gather, ..."""
    questions: int
    skipped_prompts: int
    """Questions left out because their prompt does not fit its bucket."""
    peers: int
    """Live at the end of the stage."""
    outputs_read: int
    """Peers' outputs of this stage that were read."""
    refused: Mapping[str, int]
    """Peers' records refused since the node started, by reason."""
    missing: int = 0
    """Peers whose outputs were waited for in vain."""
    late_used: int = 0
    """Outputs of an earlier stage that came during this one, when they could still be shown."""
    late_unused: int = 0
    """Such outputs that no prompt could show any more."""
    external: int = 0
    """Completions of peers that stood in groups in place of own ones."""
    stages: int = len(STAGES)
    """That a round of this node has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutReport:
    """How well the held-out questions are answered. Rates lie in [0, 1]."""

    rounds: int
    """Rounds of training behind it; 0: before the first."""
    seconds: float
    """Since the node joined."""
    questions: int
    accuracy: float
    """pass@1, greedy."""
    accuracy_sampled: float | None
    """Mean pass@1 of the samples; None where none were drawn."""
    format_rate: float
    """Of the greedy replies."""


@dataclass(frozen=True, slots=True)
class Reports:
    """All that one node has reported, in the order of time, each stage once.

    `unreadable` counts lines that a kill or another hand has torn.
    """

    stages: tuple[StageReport, ...] = ()
    held_out: tuple[HeldOutReport, ...] = ()
    unreadable: int = 0


def whole_rounds(reports: Iterable[StageReport]) -> tuple[tuple[StageReport, ...], ...]:
    """The reports of each round that lacks no stage, in the order of `Reports.stages`."""
    rounds = (tuple(found) for _, found in groupby(reports, lambda r: r.position.round))
    return tuple(found for found in rounds if len(found) == found[0].stages)


def to_json(report: StageReport | HeldOutReport) -> dict[str, Any]:
    """One line of `metrics.jsonl`. NaN and Infinity stand as Python's json writes them."""
    record = as_document(report)
    if isinstance(report, HeldOutReport):
        return {"kind": "held_out", **record}
    position = record.pop("position")
    return {"kind": "stage", "round": position.round, "stage": str(position.stage), **record}


def from_json(record: Mapping[str, Any]) -> StageReport | HeldOutReport:
    """Reverses `to_json`.

    Raises:
      ValueError, TypeError or KeyError: not such a line.
    """
    values = dict(record)
    if values.pop("kind") == "held_out":
        return HeldOutReport(**values)
    stage_index = STAGES.index(Stage(values.pop("stage")))
    return StageReport(position=Position(values.pop("round"), stage_index), **values)


def read_reports(path: Path) -> Reports:
    """Reads a `metrics.jsonl`; a missing file has no reports. Unreadable lines are counted.

    What was played again after a kill counts once: the later report takes the earlier one's place.
    """
    stages: list[StageReport] = []
    held_out: list[HeldOutReport] = []
    unreadable = 0
    for _, record in read_lines(path):
        try:
            report = from_json(record or {})
        except (ValueError, TypeError, KeyError):
            unreadable += 1
            continue
        if isinstance(report, StageReport):
            while stages and stages[-1].position >= report.position:
                stages.pop()
            stages.append(report)
        else:
            while held_out and held_out[-1].rounds >= report.rounds:
                held_out.pop()
            held_out.append(report)
    return Reports(tuple(stages), tuple(held_out), unreadable)
