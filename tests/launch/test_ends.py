"""How a real node ends: asked at any moment, within 30 s, with an exit code and a line of cause."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from jaxswarm.host.ending import DONE, UNFINISHED_STAGE
from jaxswarm.records import Position
from jaxswarm.report.journal import JOURNAL_FILE, read_journal
from jaxswarm.report.rundir import NodeCard
from tests.launch.phases import ENDLESS, reach

WITHIN_S = 30.0
SMALL = ("--config.rounds=0", "--config.stages.questions=4", "--config.grpo.group=4")
Start = Callable[..., "subprocess.Popen[bytes]"]

pytestmark = [pytest.mark.faults, pytest.mark.slow]


@pytest.fixture
def start(tmp_path: Path, launch: Start) -> Start:
    """Starts a node that waits for a peer that never comes, or what its flags say."""
    return lambda *flags: launch(
        tmp_path, tmp_path / "log", "--config.evaluation.questions=0", *flags
    )


def ask(process: "subprocess.Popen[bytes]", number: int) -> tuple[int, float]:
    """The exit code, and how long the end took."""
    daemons = psutil.Process(process.pid).children()
    asked_at = time.monotonic()
    process.send_signal(number)
    code = process.wait(4 * WITHIN_S)
    took_s = time.monotonic() - asked_at
    psutil.wait_procs(daemons, timeout=5.0)
    assert not any(daemon.is_running() for daemon in daemons)
    return code, took_s


def last_line(directory: Path) -> str:
    return (directory / "log").read_text().strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("phase", "number"),
    [
        ("generate", signal.SIGTERM),
        ("train", signal.SIGINT),
        ("publish", signal.SIGHUP),
        ("held-out", signal.SIGTERM),
    ],
)
def test_asked_in_any_phase_it_ends_after_its_stage_with_everything_saved(
    start: Start, tmp_path: Path, phase: str, number: int
) -> None:
    held_out = ("--config.evaluation.questions=192", "--config.evaluation.batch=4")
    process = start(*SMALL, *(held_out if phase == "held-out" else ()))
    # The first round's stages hold their programs' compilation, which may take longer than an end.
    reach(process, tmp_path / "log", phase, stages=0 if phase == "held-out" else 3)
    code, took_s = ask(process, number)
    assert code == DONE
    assert took_s < WITHIN_S
    assert last_line(tmp_path) == "stopped on request; run the same command again to go on"
    if phase != "held-out":
        card = NodeCard.read(tmp_path)
        assert card
        journal = read_journal(tmp_path / JOURNAL_FILE, own=card.peer, since=Position(0, 0))
        steps = [int(path.name) for path in (tmp_path / "checkpoints").glob("[0-9]*")]
        assert max(steps) == len(journal.published), "what was published is learnt"


def test_asked_while_it_waits_for_peers_it_ends_at_once(start: Start, tmp_path: Path) -> None:
    process = start(*SMALL, "--config.swarm.first_peers=1", "--config.swarm.stage_deadline_s=900")
    reach(process, tmp_path / "log", "waiting")
    code, took_s = ask(process, signal.SIGTERM)
    assert code == DONE
    assert took_s < WITHIN_S


def test_asked_before_the_first_stage_it_ends_there_and_then(start: Start, tmp_path: Path) -> None:
    process = start(*SMALL)
    while NodeCard.read(tmp_path) is None:  # its daemon runs; its weights are not there yet
        assert process.poll() is None
        time.sleep(0.005)
    code, took_s = ask(process, signal.SIGTERM)
    assert code == DONE
    assert took_s < WITHIN_S
    assert "stopped on request" in last_line(tmp_path)


def test_a_stage_that_lasts_too_long_is_left_behind_and_the_swarm_is_told(
    start: Start, tmp_path: Path
) -> None:
    process = start(*ENDLESS)
    reach(process, tmp_path / "log", "generate")
    code, took_s = ask(process, signal.SIGTERM)
    assert code == UNFINISHED_STAGE
    assert took_s < WITHIN_S
    assert last_line(tmp_path).startswith("stopped on request without the stage that was running")


def test_asked_twice_it_ends_at_once(start: Start, tmp_path: Path) -> None:
    process = start(*ENDLESS)
    reach(process, tmp_path / "log", "generate")
    process.send_signal(signal.SIGINT)
    time.sleep(1.5)  # within a second the two would count as one
    code, took_s = ask(process, signal.SIGINT)
    assert code == 128 + signal.SIGINT
    assert took_s < 5.0
    assert last_line(tmp_path) == "ended at once, as asked for the second time"
