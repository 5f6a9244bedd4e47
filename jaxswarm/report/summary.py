"""What a run came to, from the figures it left: correct also after any number of restarts."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from jaxswarm.records import STAGES
from jaxswarm.report.reports import Reports, StageReport, whole_rounds
from jaxswarm.report.rundir import Summary


def summarise(reports: Reports, *, finished: bool) -> Summary:
    """The summary of all that a node has reported."""
    whole = whole_rounds(reports.stages)
    asked = {report.position.round: report.questions for report in reports.stages}
    held_out = reports.held_out
    return Summary(
        finished=finished,
        rounds=len(whole),
        questions=sum(asked.values()),
        mean_reward=_by_stage(reports.stages),
        first_round_reward=_mean(stage.reward for stage in whole[0]) if whole else None,
        last_round_reward=_mean(stage.reward for stage in whole[-1]) if whole else None,
        first_round_right=whole[0][0].correct_rate if whole else None,
        last_round_right=whole[-1][0].correct_rate if whole else None,
        held_out_before=held_out[0].accuracy if held_out else None,
        held_out_after=held_out[-1].accuracy if len(held_out) > 1 else None,
        outputs_read=sum(report.outputs_read for report in reports.stages),
        refused=_refused(reports.stages),
    )


def _by_stage(reports: Iterable[StageReport]) -> Mapping[str, float]:
    rewards: dict[str, list[float]] = {str(stage): [] for stage in STAGES}
    for report in reports:
        rewards[str(report.position.stage)].append(report.reward)
    return {stage: _mean(values) for stage, values in rewards.items() if values}


def _refused(reports: Iterable[StageReport]) -> Mapping[str, int]:
    """A report counts since the node started: where a count has fallen, all began anew."""
    total, before = Counter[str](), Counter[str]()
    for report in reports:
        now = Counter(report.refused)
        total += now - before if now >= before else now
        before = now
    return dict(total)


def _mean(values: Iterable[float]) -> float:
    """Of those that are numbers: a stage without any completion has none."""
    numbers = [value for value in values if not math.isnan(value)]
    return sum(numbers) / len(numbers) if numbers else math.nan
