"""What a run says at its end. How it ends on a signal is tested on real nodes: test_ends.py."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jaxswarm.ending import cause

ROOT = Path(__file__).parents[1]


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


ASKED_FOR_NOTHING = """
import os, signal
from jaxswarm.ending import Ending
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
from jaxswarm.ending import Ending, StoppedError

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
from jaxswarm.ending import Ending, StoppedError
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_while_jax_is_imported_ends_the_run_with_a_line(number: signal.Signals) -> None:
    program = (
        f"import signal, sys\nsignal.signal({number}, signal.SIG_DFL)"
        "  # whoever started the tests may ignore it\n"
        "from jaxswarm.main import main\nsys.exit(main())"
    )
    node = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-c", program, "--config=none.py"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert node.stderr
    for line in node.stderr:  # of each import, when it is done
        if line.endswith(" absl.flags\n"):
            node.send_signal(number)
            break
    out, err = node.communicate(timeout=60.0)
    assert node.returncode == 0, err
    assert out.startswith(f"stopped on request ({number.name}) before its first stage")
    assert "Traceback" not in err
    assert " jaxswarm.node\n" not in err, "it was asked in time"
