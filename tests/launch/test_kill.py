"""kill -9 of a real node in the middle of its work: the embedded model, real p2p daemons."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jaxswarm.records import Position, Stage
from jaxswarm.report.journal import JOURNAL_FILE, read_journal
from jaxswarm.report.reports import METRICS_FILE, read_reports
from jaxswarm.report.rundir import NodeCard, Summary
from jaxswarm.report.status import STATUS_FILE, read_reading

ROOT = Path(__file__).parents[2]
ROUNDS = 3
KILLS = (
    (Position(0, 1), "generate"),
    (Position(0, 2), "train"),
    (Position(1, 0), "waiting"),
    (Position(1, 1), "checkpoint"),
)
"""Where, and in which phase or just after it."""

FLAGS = (
    f"--config.rounds={ROUNDS}",
    "--config.stages.questions=4",
    "--config.grpo.group=4",
    "--config.evaluation.questions=0",
    "--config.swarm.first_peers=1",
    "--config.swarm.stage_deadline_s=300",
)

Start = Callable[[str, str], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a node by its name and a further flag; ends what still runs with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def node(name: str, flag: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "jaxswarm.main", "--config=configs/tiny.py", *FLAGS, flag]
        command.append(f"--config.output.directory={tmp_path / name}")
        with (tmp_path / f"{name}.log").open("ab") as log:
            started.append(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log))
        return started[-1]

    yield node
    for process in started:
        process.kill()
        process.wait()


def reach(process: "subprocess.Popen[bytes]", directory: Path, at: Position, phase: str) -> None:
    """Returns once the node is in that phase, or already beyond that stage."""
    while True:
        assert process.poll() is None, (directory.parent / f"{directory.name}.log").read_text()
        reading = read_reading(directory / STATUS_FILE)
        if reading is not None and reading.pid == process.pid:
            status = reading.status
            if (status.position == at and status.phase.startswith(phase)) or status.position > at:
                return
        time.sleep(0.005)


def card(directory: Path) -> NodeCard:
    found = NodeCard.read(directory)
    assert found is not None
    return found


def published(directory: Path) -> Counter[tuple[int, Stage]]:
    lines = map(json.loads, (directory / JOURNAL_FILE).read_text().splitlines())
    return Counter((n["round"], n["stage"]) for n in lines if n["kind"] == "published")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_node_killed_in_any_phase_goes_on_and_publishes_nothing_twice(
    start: Start, tmp_path: Path
):
    stayer, victim = tmp_path / "stayer", tmp_path / "victim"
    other = start("stayer", "--config.seed=0")
    reach(other, stayer, Position(0, 0), "waiting")
    join = f"--config.swarm.initial_peers={card(stayer).addresses[0]}"
    identities = set()
    for at, phase in KILLS:
        process = start("victim", join)
        reach(process, victim, at, phase)
        identities.add(card(victim).peer)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    last = start("victim", join)
    assert last.wait() == 0, (tmp_path / "victim.log").read_text()
    assert other.wait() == 0, (tmp_path / "stayer.log").read_text()

    assert identities == {card(victim).peer}, "one identity over all its lives"
    assert set(published(victim).values()) == {1}
    summary = Summary.read(victim)
    assert summary is not None
    assert summary.finished
    positions = [report.position for report in read_reports(victim / METRICS_FILE).stages]
    assert positions == sorted(set(positions)), "no stage is counted twice"

    said = read_journal(victim / JOURNAL_FILE, own=card(victim).peer, since=Position(0, 0))
    heard = read_journal(stayer / JOURNAL_FILE, own=card(stayer).peer, since=Position(0, 0))
    from_victim = {at: output for at, outputs in heard.received.items() for output in outputs}
    assert from_victim, "the other has heard it"
    for at, output in from_victim.items():
        assert output == said.published[at], "word for word"
