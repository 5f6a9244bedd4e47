"""kill -9 of a real node in the middle of its work: the embedded model, real p2p daemons."""

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from jaxswarm.records import Position, Stage
from jaxswarm.report.journal import JOURNAL_FILE, read_journal
from jaxswarm.report.reports import METRICS_FILE, read_reports
from jaxswarm.report.rundir import NodeCard
from tests.launch.phases import reach

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


@dataclass(frozen=True, slots=True)
class Life:
    """A node from one start of it to its end. `begins`: where in its log."""

    process: "subprocess.Popen[bytes]"
    log: Path
    begins: int

    def reach(self, phase: str, stages: int = 0) -> None:
        reach(self.process, self.log, phase, begins=self.begins, stages=stages)

    def kill(self) -> None:
        self.process.kill()
        assert self.process.wait() == -signal.SIGKILL

    def end(self) -> int:
        """Its exit code, if nothing else ends it."""
        return self.process.wait()


Start = Callable[..., Life]

pytestmark = [pytest.mark.faults, pytest.mark.slow]


@pytest.fixture
def start(tmp_path: Path, launch: Callable[..., "subprocess.Popen[bytes]"]) -> Start:
    """Starts a node by its name and further flags."""

    def life(name: str, *flags: str) -> Life:
        log = tmp_path / f"{name}.log"
        begins = log.stat().st_size if log.exists() else 0
        return Life(launch(tmp_path / name, log, *FLAGS, *flags), log, begins)

    return life


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
    other.reach("waiting")
    join = f"--config.swarm.initial_peers={card(stayer).addresses[0]}"
    identities = set()
    for phase in PHASES:
        life = start("victim", join)
        life.reach(phase, stages=1)
        identities.add(card(victim).peer)
        life.kill()
    last = start("victim", join)
    last.reach("train", stages=4)
    for life in (last, other):
        life.process.terminate()
        assert life.end() == 0, life.log.read_text()

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
    """What of it a peer's texts change is in tests/node/test_node.py: the journal has them."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start("whole", *SOLO).end() == 0
    for phase in ("generate", "checkpoint", "train", "publish"):
        life = start("killed", *SOLO)
        life.reach(phase, stages=1)
        life.kill()
    assert start("killed", *SOLO).end() == 0

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
