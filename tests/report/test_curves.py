from dataclasses import replace
from pathlib import Path

import pytest

from jaxswarm.records import Position
from jaxswarm.report.curves import PANELS, draw
from jaxswarm.report.metrics import MetricsWriter
from jaxswarm.report.reports import METRICS_FILE, Reports, StageReport, read_reports
from tests.launch.stand_in_node import held_out, stage_report


def stage(round_: int, stage_index: int, seconds: float, reward: float) -> StageReport:
    position = Position(round_, stage_index)
    parts = {"consensus_correctness": reward / 4}
    return replace(stage_report(position, seconds), reward=reward, reward_parts=parts)


TWO_ROUNDS = Reports(
    stages=(
        stage(0, 0, 10.0, 1.0),
        stage(0, 1, 20.0, 2.0),
        stage(0, 2, 30.0, 6.0),
        stage(1, 0, 40.0, 2.0),
    ),
    held_out=(held_out(0, 0.25), held_out(30, 0.5)),
)


def points(panel: str, reports: Reports) -> list[tuple[float, float]]:
    (function,) = (function for title, function in PANELS if title.startswith(panel))
    return list(function(reports))


def test_a_rounds_reward_is_the_mean_of_its_three_stages_once_it_is_whole():
    assert points("reward/total", TWO_ROUNDS) == [(30.0, 3.0)]


def test_consensus_stands_at_each_resolve_stage():
    assert points("reward/consensus_correctness", TWO_ROUNDS) == [(30.0, 1.5)]


def test_answers_held_out_accuracy_loss_and_length_stand_where_they_were_measured():
    assert points("answer/correct_rate", TWO_ROUNDS) == [(10.0, 0.25), (40.0, 0.5)]
    assert points("held_out/accuracy", TWO_ROUNDS) == [(0.0, 0.25), (30.0, 0.5)]
    assert points("train/loss", TWO_ROUNDS) == [(x, 0.01) for x in (10.0, 20.0, 30.0, 40.0)]
    assert points("completion/length", TWO_ROUNDS)[0] == (10.0, 40.0)


@pytest.mark.parametrize("nodes", [1, 12])
def test_the_picture_of_what_the_nodes_wrote_is_a_png(tmp_path: Path, nodes: int):
    reports = {}
    for index in range(nodes):
        writer = MetricsWriter(tmp_path / f"node-{index}")
        for report in (*TWO_ROUNDS.held_out, *TWO_ROUNDS.stages):
            writer.write(report)
        writer.close()
        reports[f"node-{index}"] = read_reports(tmp_path / f"node-{index}" / METRICS_FILE)
    assert reports["node-0"] == TWO_ROUNDS
    draw(reports, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_a_node_that_reported_nothing_leaves_the_others_curves(tmp_path: Path):
    draw({"node-0": TWO_ROUNDS, "node-1": Reports()}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000
