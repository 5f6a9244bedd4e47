"""How a run ends: on request, in time, with an exit code and one line of cause.

Ctrl-C, SIGTERM and SIGHUP ask for an end. Before the first stage the run ends there and then,
later after its stage. A stage may last longer than whoever asked will wait, and what runs on a
device can't be interrupted: then the node leaves the swarm without it.
"""

import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

DONE, BUG, UNUSABLE, UNFINISHED_STAGE = 0, 1, 2, 3
"""Exit codes: done or ended on request with everything saved; a bug; something given can't be used;
ended on request without the stage that was running. 128 + the signal: ended at once."""

AGAIN = "run the same command again to go on"

STAGE_ENDS_WITHIN_S = 22.0
"""A request is met within 30 s: then there are still some to leave the swarm."""
LEAVES_WITHIN_S = 6.0
CLEARS_WITHIN_S = 1.0
"""A terminal may hang, or whoever holds its lock."""
ASKED = (
    f"stopping after this stage, in at most {STAGE_ENDS_WITHIN_S:.0f} s; "
    "ask again to end at once and lose it"
)
SAME_REQUEST_S = 1.0
"""Two signals within a second are one: coreutils' `timeout` signals a process, then its group."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedError(BaseException):
    """The run was asked to end before its first stage. No more to be caught than Ctrl-C."""


class Ending:
    """What is done when an end is asked for. `requests` installs it."""

    def __init__(self) -> None:
        self._stop: Callable[[], None] | None = None
        self._leave: Callable[[], None] = _do_nothing
        self._say: Callable[[str], None] = _say_nothing
        self._clear: Callable[[], None] = _do_nothing
        self._saying: threading.Thread | None = None
        self._asked: StoppedError | None = None

    def of_line(self, say: Callable[[str], None], clear: Callable[[], None]) -> None:
        """From now on there is a live line. Both are called from another thread.

        Args:
          say: prints above the line.
          clear: takes the line away. Where the process ends at once, nobody else would do so
            before the last words.
        """
        self._say = say
        self._clear = clear

    def of(self, stop: Callable[[], None], leave: Callable[[], None]) -> None:
        """From now on there is a node to ask.

        Args:
          stop: asks it to end after its stage; returns at once.
          leave: leaves the swarm, from another thread, whatever the node is doing.

        Raises:
          StoppedError: an end was asked for before. What is raised in a callback of C, or while an
            object is being destroyed, goes no further than there: then nobody has heard of it yet.
        """
        self._leave = leave
        self._stop = stop
        if self._asked:
            raise self._asked

    @contextmanager
    def requests(self) -> Iterator[None]:
        """Listens to the signals. To be entered in the main thread."""
        here, there = socket.socketpair()
        there.setblocking(False)
        before = {number: signal.signal(number, self._ask) for number in heard()}
        # The main thread runs no Python while the device computes, so another one keeps the time.
        fd_before = signal.set_wakeup_fd(there.fileno())
        watch = threading.Thread(target=self._watch, args=(here,), name="ending", daemon=True)
        watch.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(fd_before)
            for number, handler in before.items():
                signal.signal(number, handler)
            there.close()
            watch.join()
            here.close()
            if self._saying:
                self._saying.join(CLEARS_WITHIN_S)

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._stop:
            self._stop()
        elif not self._asked:
            self._asked = StoppedError(signal.Signals(number).name)
            raise self._asked

    def _watch(self, here: socket.socket) -> None:
        """Sees each signal as it comes, and ends the process where the main thread doesn't."""
        first = math.inf
        while True:
            try:
                signals = here.recv(64)
            except TimeoutError:
                self._leave_without_the_stage()
                return
            if not signals:
                return
            if first == math.inf:
                first = time.monotonic()
                if self._stop:
                    # Nobody waits for it: a terminal that hangs shall cost no stage.
                    self._saying = _in_thread(lambda: self._say(ASKED))
            if time.monotonic() - first > SAME_REQUEST_S:
                self._exit(128 + signals[-1], "ended at once, as asked for the second time")
            here.settimeout(max(0.1, first + STAGE_ENDS_WITHIN_S - time.monotonic()))

    def _leave_without_the_stage(self) -> None:
        _within(LEAVES_WITHIN_S, self._leave)
        self._exit(
            UNFINISHED_STAGE,
            f"stopped on request without the stage that was running: it and its checkpoint did not "
            f"end within {STAGE_ENDS_WITHIN_S:.0f} s; {AGAIN} from the last whole checkpoint",
        )

    def _exit(self, code: int, line: str) -> None:
        """Ends the process from any thread. Its daemon sees that and ends too."""
        _within(CLEARS_WITHIN_S, self._clear)
        # Not by way of the live line, which may still be there if it could not be taken away.
        _within(CLEARS_WITHIN_S, lambda: print(line, file=sys.__stderr__, flush=True))
        os._exit(code)


def heard() -> list[signal.Signals]:
    """The signals that ask for an end. Who ignores one (nohup: SIGHUP) goes on ignoring it."""
    return [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]


def cause(error: Exception) -> str:
    """The last line of a run that a bug has ended, after its traceback."""
    words = " ".join(str(error).split())[:300]
    if "RESOURCE_EXHAUSTED" in words or isinstance(error, MemoryError):
        return (
            f"error: out of memory ({words}); raise grpo.micro_batches, or lower stages.questions, "
            "grpo.group or generation.limit, then start the same command again"
        )
    return (
        f"error: a bug ended the run: {type(error).__name__}: {words}; please report it with the "
        f"traceback above; {AGAIN} from the last whole checkpoint"
    )


def _within(seconds: float, act: Callable[[], None]) -> None:
    """Does it in another thread, and waits no longer for it."""
    _in_thread(act).join(seconds)


def _in_thread(act: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def _do_nothing() -> None:
    """Before there is a swarm to leave, or a line to take away."""


def _say_nothing(text: str) -> None:
    """Before there is a line to say it above."""
