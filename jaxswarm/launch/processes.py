"""Nodes as child processes: started, watched by their run directories, stopped for certain."""

import ctypes
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from jaxswarm.host.ending import SAME_REQUEST_S, heard
from jaxswarm.report.rundir import SUMMARY_FILE, NodeCard, Summary
from jaxswarm.report.status import STATUS_FILE, Reading, read_reading

LOG_FILE = "log.txt"

KILL_AFTER_S = 35.0
"""How long a node may take to end after SIGTERM: it writes a checkpoint and leaves its swarm."""

_OF_NODES = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""Unless the user has set it. Nodes may share a GPU, of which each would take three quarters."""

_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that the kernel sends a process when its parent dies."""


class NodeProcess:
    """One node as a child of this process. What it prints goes to `log.txt` in its directory."""

    def __init__(self, command: Sequence[str], directory: Path):
        """Starts it.

        On Linux a node gets SIGTERM when this process dies in whatever way. Elsewhere it survives
        a SIGKILL of this process, does its rounds and ends by itself.

        Args:
          command: program and arguments.
          directory: the node's run directory; its last part is the node's name here.

        Raises:
          OSError: the directory or the program can't be used.
        """
        self.name = directory.name
        self.directory = directory
        self.started_at = time.time()
        directory.mkdir(parents=True, exist_ok=True)
        # A summary of an earlier run in this directory must not pass for this one's.
        (directory / SUMMARY_FILE).unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_OF_NODES | os.environ | {"PYTHONUNBUFFERED": "1"},
                # A group of its own: a terminal's Ctrl-C reaches the launcher alone, which asks
                # each node once. A node that is asked twice ends without saving.
                process_group=0,
                preexec_fn=_dies_with_parent(),
            )

    @property
    def log(self) -> Path:
        return self.directory / LOG_FILE

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    @property
    def finished(self) -> bool:
        """It ended well, with all its rounds done."""
        summary = self.summary()
        return self.code == 0 and summary is not None and summary.finished

    def card(self) -> NodeCard | None:
        """Who it is, as soon as it has said so; never what an earlier process left there."""
        card = NodeCard.read(self.directory)
        return card if card is not None and card.pid == self._process.pid else None

    def reading(self) -> Reading | None:
        """What it does; None before it says so, and after its end."""
        reading = read_reading(self.directory / STATUS_FILE)
        if reading is None or reading.pid != self._process.pid or self.code is not None:
            return None
        return reading

    def summary(self) -> Summary | None:
        return Summary.read(self.directory)

    def end(self) -> str:
        """How it ended, in words; "running" while it runs."""
        code = self.code
        if code is None:
            return "running"
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        if code > 0:
            return f"exit code {code}"
        return "finished" if self.finished else "stopped"

    def tail(self, lines: int) -> str:
        """The last lines that it printed."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 16_384))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])

    def terminate(self) -> None:
        """Asks it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """Ends it, whatever it does, and waits until it is gone."""
        self._process.kill()
        self._process.wait()


class Stop:
    """How often a person or the system has asked this process to end."""

    def __init__(self) -> None:
        self.asked = 0
        self._heard_at = -math.inf

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside the block, signals that ask for an end are counted and end nothing."""
        before = {number: signal.signal(number, self._hear) for number in heard()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        now = time.monotonic()
        if now - self._heard_at > SAME_REQUEST_S:
            self.asked += 1
            self._heard_at = now


def _dies_with_parent() -> Callable[[], None] | None:
    """What a child does before it becomes a node, so that none outlives a killed launcher."""
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()

    def ask_kernel() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the kernel could be asked
            os.kill(os.getpid(), signal.SIGTERM)

    return ask_kernel
