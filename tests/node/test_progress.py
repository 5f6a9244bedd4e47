"""What a node says of itself while it works."""

from pathlib import Path

import pytest
from rich.console import Console

from jaxswarm.node.progress import Progress
from jaxswarm.records import Position
from jaxswarm.report.status import StatusLine, read_reading
from jaxswarm.swarm.waiting import Waiting
from tests.launch.stand_in_node import stage_report


@pytest.fixture
def line(tmp_path: Path):
    with StatusLine(tmp_path, console=Console(file=(tmp_path / "out").open("w"))) as made:
        yield made


def said(tmp_path: Path):
    reading = read_reading(tmp_path / "status.json")
    assert reading is not None
    return reading.status


def test_a_phase_is_shown_and_timed(line, tmp_path):
    progress = Progress(line, "node-0", 3, lambda: 2)
    progress.begin(Position(1, 2))
    with progress.phase("generate"):
        assert said(tmp_path).phase == "generate"
    status = said(tmp_path)
    assert (status.position, status.rounds, status.peers) == (Position(1, 2), 3, 2)
    assert status.eta_s is None, "no stage of this kind has ended yet"
    assert progress.phase_seconds["generate"] >= 0
    progress.begin(Position(2, 0))
    assert progress.phase_seconds == {}


def test_a_wait_says_for_how_many_and_until_when(line, tmp_path):
    progress = Progress(line, "node-0", 0, lambda: 2)
    progress.wait(Waiting(Position(0, 1), ("a", "b"), 1.0, 60.0))
    status = said(tmp_path)
    assert status.phase.startswith("waiting for 2 peers until ")
    assert status.rounds is None
    progress.wait(Waiting(Position(0, 1), ("a",), 1.0, 60.0))
    assert said(tmp_path).phase.startswith("waiting for 1 peer until ")


def test_time_left_goes_by_the_fastest_stage_of_the_kind_since_the_first_one_compiles(
    line, tmp_path, monkeypatch
):
    clock = iter([0.0, 40.0, 50.0, 54.0])
    monkeypatch.setattr("jaxswarm.node.progress.time.monotonic", lambda: next(clock))
    progress = Progress(line, "node-0", 3, lambda: 0)
    for round_ in range(2):
        progress.begin(Position(round_, 1))
        with progress.phase("train"):
            pass
        progress.end(stage_report(Position(round_, 1), 0.0))
    progress.begin(Position(2, 1))
    progress.show("generate")
    assert said(tmp_path).eta_s == 4.0
    progress.show("held-out questions 1/4", 1 / 4)
    assert said(tmp_path).eta_s is None, "what is no stage takes what it takes"
    progress.begin(Position(2, 2))
    progress.show("generate")
    assert said(tmp_path).eta_s is None
