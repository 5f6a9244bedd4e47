"""kill -9 of a real node in the middle of its work: the embedded model, real p2p daemons."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from jaxswarm.records import Position, Stage
from jaxswarm.report.journal import JOURNAL_FILE, read_journal
from jaxswarm.report.reports import METRICS_FILE, read_reports
from jaxswarm.report.rundir import NodeCard
from jaxswarm.report.status import STATUS_FILE, read_reading

PHASES = ("generate", "train", "publish", "gather", "checkpoint")

FLAGS = (
    "--config.rounds=0",
    "--config.stages.questions=4",
    "--config.grpo.group=4",
    "--config.evaluation.questions=0",
    "--config.swarm.first_peers=1",
    "--config.swarm.stage_deadline_s=300",
)

SOLO = ("--config.rounds=2", "--config.swarm.enabled=False", "--config.seed=3")

Start = Callable[..., "subprocess.Popen[bytes]"]

pytestmark = [pytest.mark.faults, pytest.mark.slow]


@pytest.fixture
def start(tmp_path: Path, launch: Start) -> Start:
    """Starts a node by its name and further flags."""
    return lambda name, *flags: launch(tmp_path / name, tmp_path / f"{name}.log", *FLAGS, *flags)


def reach(process: "subprocess.Popen[bytes]", directory: Path, phase: str, stages: int = 0) -> None:
    """Returns once the process is in that phase, `stages` stages or more after it began."""
    seen: set[Position] = set()
    while True:
        assert process.poll() is None, (directory.parent / f"{directory.name}.log").read_text()
        reading = read_reading(directory / STATUS_FILE)
        if reading is not None and reading.pid == process.pid:
            seen.add(reading.status.position)
            if reading.status.phase.startswith(phase) and len(seen) > stages:
                return
        time.sleep(0.005)


def card(directory: Path) -> NodeCard:
    found = NodeCard.read(directory)
    assert found is not None
    return found


def published(directory: Path) -> Counter[tuple[int, Stage]]:
    lines = map(json.loads, (directory / JOURNAL_FILE).read_text().splitlines())
    return Counter((n["round"], n["stage"]) for n in lines if n["kind"] == "published")


@pytest.mark.timeout(1200)
def test_a_node_killed_in_any_phase_goes_on_and_publishes_nothing_twice(
    start: Start, tmp_path: Path
):
    stayer, victim = tmp_path / "stayer", tmp_path / "victim"
    other = start("stayer", "--config.seed=0")
    reach(other, stayer, "waiting")
    join = f"--config.swarm.initial_peers={card(stayer).addresses[0]}"
    identities = set()
    for phase in PHASES:
        process = start("victim", join)
        reach(process, victim, phase, stages=1)
        identities.add(card(victim).peer)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    last = start("victim", join)
    reach(last, victim, "train", stages=4)
    for process, name in ((last, "victim"), (other, "stayer")):
        process.terminate()
        assert process.wait() == 0, (tmp_path / f"{name}.log").read_text()

    assert identities == {card(victim).peer}, "one identity over all its lives"
    assert set(published(victim).values()) == {1}
    positions = [report.position for report in read_reports(victim / METRICS_FILE).stages]
    assert positions == sorted(set(positions)), "no stage is counted twice"

    said = read_journal(victim / JOURNAL_FILE, own=card(victim).peer, since=Position(0, 0))
    heard = read_journal(stayer / JOURNAL_FILE, own=card(stayer).peer, since=Position(0, 0))
    from_victim = {at: output for at, outputs in heard.received.items() for output in outputs}
    assert len(from_victim) >= len(PHASES), "the other has heard it"
    for at, output in from_victim.items():
        assert output == said.published[at], "word for word"


@pytest.mark.timeout(1200)
def test_a_killed_run_learns_what_it_would_have_learnt(start: Start, tmp_path: Path):
    """What of it a peer's texts change is in tests/test_node.py: the journal has them."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start("whole", *SOLO).wait() == 0
    for phase in ("generate", "checkpoint", "train", "publish"):
        process = start("killed", *SOLO)
        reach(process, killed, phase, stages=1)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert start("killed", *SOLO).wait() == 0

    expected, found = (read_reports(d / METRICS_FILE).stages for d in (whole, killed))
    assert [r.position for r in found] == [r.position for r in expected]
    for report, other in zip(found, expected, strict=True):
        assert report.reward == pytest.approx(other.reward, rel=1e-6)
        assert report.loss == pytest.approx(other.loss, rel=1e-4, abs=1e-6)
        assert report.grad_norm == pytest.approx(other.grad_norm, rel=1e-3)
    journals = [
        read_journal(d / JOURNAL_FILE, own="solo", since=Position(0, 0)) for d in (whole, killed)
    ]
    assert journals[0].published == journals[1].published
