"""What a run says at its end. How it ends on a signal is tested on real nodes: test_ends.py."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxswarm.host.ending import UNFINISHED_STAGE, cause
from tests.terminals import Terminal

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (KeyError("round"), "KeyError: 'round'"),
        (AssertionError(""), "AssertionError"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocating 5G"), "grpo.micro_batches"),
        (MemoryError(), "out of memory"),
    ],
)
def test_a_bug_s_last_line_names_it_and_what_to_do(error: Exception, named: str) -> None:
    line = cause(error)
    assert named in line
    assert line.startswith("error: ")
    assert "\n" not in line
    assert "same command" in line


ENDED_AT_ONCE = """
import sys, time
from pathlib import Path
from jaxswarm.host import ending as ending_module, readers
from jaxswarm.records import Position
from jaxswarm.report.status import StatusLine
from tests.launch.stand_in_node import status_of

@readers.may_leave()
def main():
    ending_module.STAGE_ENDS_WITHIN_S = {stage_ends_within_s}
    ending = ending_module.Ending()
    with ending.requests(), StatusLine(Path(sys.argv[1])) as line:
        ending.of_line(line.say, line.close)
        ending.of(lambda: None, lambda: None)
        line.update(status_of("node-0", Position(0, 0), 1))
        while True:
            {does}

main()
"""

AS_ASKED = "ended at once, as asked for the second time"
WITHOUT_THE_STAGE = "stopped on request without the stage that was running"


def ask_twice(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGINT)
    time.sleep(1.5)  # within a second the two would count as one
    process.send_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("stage_ends_within_s", "code", "last"),
    [(22.0, 128 + signal.SIGINT, AS_ASKED), (0.5, UNFINISHED_STAGE, WITHOUT_THE_STAGE)],
)
def test_ended_at_once_the_live_line_is_gone_and_the_cause_is_the_last_line(
    tmp_path: Path, stage_ends_within_s: float, code: int, last: str
) -> None:
    program = ENDED_AT_ONCE.format(stage_ends_within_s=stage_ends_within_s, does="time.sleep(60)")
    with Terminal([sys.executable, "-c", program, str(tmp_path)]) as window:
        window.until(lambda: "generate" in window.shown)
        ask_twice(window.process)
        assert window.end() == code, window.shown
    assert window.shown.count("stopping after this stage, in at most 22 s") == 1
    cursor, erased = "\x1b[?25h", "\r\x1b[1A\x1b[2K"
    before, line = window.shown.rsplit(cursor + erased, 1)
    assert "\x1b[?25l" in before, "it was hidden"
    assert line.startswith(last)
    assert "\x1b" not in line


def test_a_terminal_that_takes_nothing_more_keeps_no_process(tmp_path: Path) -> None:
    """As after Ctrl-S: what prints then holds the live line's lock for ever."""
    program = ENDED_AT_ONCE.format(stage_ends_within_s=22.0, does="line.say('x' * 10_000)")
    with Terminal([sys.executable, "-c", program, str(tmp_path)]) as window:
        window.until(lambda: "xxx" in window.shown)
        time.sleep(0.5)  # unread, the terminal fills
        window.process.send_signal(signal.SIGINT)
        time.sleep(3.0)
        assert window.process.poll() is None, "the stage may end, though nothing can be said"
        window.process.send_signal(signal.SIGINT)
        assert window.process.wait(15.0) == 128 + signal.SIGINT


ASKED_FOR_NOTHING = """
import os, signal
from jaxswarm.host.ending import Ending
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with Ending().requests():
    os.kill(os.getpid(), signal.SIGHUP)
print("goes on")
"""


def test_who_ignores_a_signal_goes_on_ignoring_it() -> None:
    """As under nohup."""
    ended = subprocess.run(
        [sys.executable, "-c", ASKED_FOR_NOTHING], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "goes on\n"), ended.stderr


WHERE_NOTHING_CAN_BE_RAISED = """
import os, signal
from jaxswarm.host.ending import Ending, StoppedError

class Asks:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        signal.getsignal(signal.SIGTERM)  # by now the handler has run

ending = Ending()
try:
    with ending.requests():
        Asks()
        print("goes on")
        ending.of(print, print)
        print("not reached")
except StoppedError as request:
    print(request)
"""


def test_a_request_that_nobody_could_be_told_of_ends_the_run_before_its_first_stage() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WHERE_NOTHING_CAN_BE_RAISED],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "goes on\nSIGTERM\n"), ended.stderr
    assert "StoppedError" in ended.stderr, "what was raised first went no further"


BEFORE_THE_NODE = """
import os, signal, sys
from jaxswarm.host.ending import Ending, StoppedError
signal.signal({number}, signal.SIG_DFL)  # whoever started the tests may ignore it
try:
    with Ending().requests():
        os.kill(os.getpid(), {number})
        print("not reached")
except StoppedError as request:
    print(request)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_request_before_there_is_a_node_ends_the_run_there(number: signal.Signals) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", BEFORE_THE_NODE.format(number=int(number))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, f"{number.name}\n"), ended.stderr


WHILE_JAX_IS_IMPORTED = """
import os, signal, sys
signal.signal({number}, signal.SIG_DFL)  # whoever started the tests may ignore it

class Asks:
    def find_spec(self, name, *_):
        if name == "jax":
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Asks())
from jaxswarm.main import main
sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_while_jax_is_imported_ends_the_run_with_a_line(number: signal.Signals) -> None:
    program = WHILE_JAX_IS_IMPORTED.format(number=int(number))
    ended = subprocess.run(
        [sys.executable, "-c", program, "--config=none.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"stopped on request ({number.name}) before its first stage")
    assert "Traceback" not in ended.stderr
