from dataclasses import replace

import pytest

from jaxswarm.records import Position
from jaxswarm.report.reports import Reports, StageReport
from jaxswarm.report.summary import summarise
from tests.launch.stand_in_node import held_out, stage_report


def played(*refused: dict[str, int]) -> Reports:
    """One stage after the other, each with what had been refused since the node started."""
    return Reports(
        tuple(
            replace(stage_report(Position(*divmod(step, 3)), float(step)), refused=counts)
            for step, counts in enumerate(refused)
        )
    )


@pytest.mark.parametrize(
    ("refused", "in_all"),
    [
        ([{"forged": 5}, {"forged": 7}, {"forged": 1}], {"forged": 8}),
        ([{"forged": 5}, {}, {"forged": 1}], {"forged": 6}),
        ([{"forged": 5, "size": 1}, {"forged": 2, "size": 3}], {"forged": 7, "size": 4}),
        ([{}, {"forged": 2}, {"forged": 2, "size": 1}], {"forged": 2, "size": 1}),
        ([{}, {}], {}),
        ([], {}),
    ],
)
def test_what_was_refused_is_added_up_over_restarts(
    refused: list[dict[str, int]], in_all: dict[str, int]
) -> None:
    assert summarise(played(*refused), finished=True).refused == in_all


def test_a_run_is_judged_by_its_whole_rounds_and_counted_by_all_its_stages() -> None:
    stages = [stage_report(Position(*divmod(step, 3)), float(step)) for step in range(7)]
    summary = summarise(Reports(tuple(stages), (held_out(0, 0.25),)), finished=False)
    assert (summary.finished, summary.rounds, summary.questions) == (False, 2, 48)
    assert (summary.first_round_reward, summary.last_round_reward) == (1.0, 2.0)
    assert (summary.first_round_right, summary.last_round_right) == (0.25, 0.5)
    assert summary.mean_reward == {"answer": 2.0, "critique": 1.5, "resolve": 1.5}
    assert (summary.held_out_before, summary.held_out_after) == (0.25, None)
    assert summary.outputs_read == 14


def test_a_stage_without_any_completion_counts_in_no_mean() -> None:
    stages: list[StageReport] = [stage_report(Position(0, index), 0.0) for index in range(3)]
    stages[1] = replace(stages[1], reward=float("nan"))
    assert summarise(Reports(tuple(stages)), finished=True).first_round_reward == 1.0


def test_a_run_that_has_reported_nothing_has_an_empty_summary() -> None:
    summary = summarise(Reports(), finished=False)
    assert (summary.rounds, summary.outputs_read, summary.mean_reward) == (0, 0, {})
    assert summary.first_round_reward is summary.held_out_before is None
