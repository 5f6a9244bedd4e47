"""Where a real node shows itself: a window that may be closed, a pipe whose reader may leave."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxswarm.host.ending import DONE
from jaxswarm.records import Position
from jaxswarm.report.journal import JOURNAL_FILE, read_journal
from jaxswarm.report.rundir import NodeCard
from jaxswarm.report.status import STATUS_FILE, read_reading
from tests.launch.phases import ENDLESS
from tests.terminals import ROOT, Terminal

FLAGS = (
    "--config=configs/tiny.py",
    "--config.rounds=0",
    "--config.stages.questions=4",
    "--config.grpo.group=4",
    "--config.evaluation.questions=0",
)

pytestmark = [pytest.mark.faults, pytest.mark.slow]


@pytest.fixture(autouse=True)
def _one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "")  # without the eight devices of other tests


def node(directory: Path, *flags: str) -> list[str]:
    command = [sys.executable, "-m", "jaxswarm.main", *FLAGS, *flags]
    return [*command, f"--config.output.directory={directory}"]


def generates(directory: Path) -> bool:
    """In a round in which nothing is left to be compiled: no stage of it takes long."""
    reading = read_reading(directory / STATUS_FILE)
    if reading is None or reading.status.position.round == 0:
        return False
    return reading.status.phase.startswith("generate")


def saved(directory: Path) -> bool:
    """What was published is learnt, and in a whole checkpoint."""
    card = NodeCard.read(directory)
    assert card
    journal = read_journal(directory / JOURNAL_FILE, own=card.peer, since=Position(0, 0))
    steps = [int(path.name) for path in (directory / "checkpoints").glob("[0-9]*")]
    return max(steps) == len(journal.published)


@pytest.mark.skipif(sys.platform != "linux", reason="a pty's hang-up as Linux has it")
def test_a_closed_window_asks_for_an_end_and_everything_is_saved(tmp_path: Path) -> None:
    with Terminal(node(tmp_path)) as window:
        window.until(lambda: generates(tmp_path))
        window.hang_up()
        assert window.process.wait(60.0) == DONE
    assert saved(tmp_path)


def test_a_pipe_that_nobody_reads_any_more_ends_no_run(tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("wb") as said:
        process = subprocess.Popen(node(tmp_path), cwd=ROOT, stdout=subprocess.PIPE, stderr=said)
    try:
        assert process.stdout
        process.stdout.readline()
        process.stdout.close()
        while not generates(tmp_path):
            assert process.poll() is None, (tmp_path / "stderr").read_text()
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60.0) == DONE
    finally:
        process.kill()
        process.wait()
    assert saved(tmp_path)


def test_asked_twice_it_leaves_a_whole_terminal_and_the_cause_as_the_last_line(
    tmp_path: Path,
) -> None:
    with Terminal(node(tmp_path, *ENDLESS)) as window:
        window.until(lambda: "generate" in window.shown)
        window.process.send_signal(signal.SIGINT)
        time.sleep(1.5)  # within a second the two would count as one
        window.process.send_signal(signal.SIGINT)
        assert window.end() == 128 + signal.SIGINT
    cursor, erased = "\x1b[?25h", "\r\x1b[1A\x1b[2K"
    assert window.shown.strip().endswith(
        f"{cursor}{erased}ended at once, as asked for the second time"
    )
