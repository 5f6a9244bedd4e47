"""A real terminal for a process, whose window can be closed."""

import fcntl
import os
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


class Terminal:
    """A window, 120 columns wide, and the process in it, which ends with the block.

    `shown`: all that has been written to it.
    """

    def __init__(self, command: Sequence[str], **env: str):
        self._master, slave = os.openpty()
        self._open = True
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.shown = ""
        # A width that the tests themselves were given would outdo that of the window.
        around = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        self.process: subprocess.Popen[Any] = subprocess.Popen(
            command,
            cwd=ROOT,
            env=around | {"TERM": "xterm"} | env,
            preexec_fn=lambda: os.login_tty(slave),
        )
        os.close(slave)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.hang_up()

    def until(self, fact: Callable[[], object], within_s: float = 120.0) -> None:
        """Reads, as the window of a person does, until something holds."""
        deadline = time.monotonic() + within_s
        while not fact():
            assert time.monotonic() < deadline, self.shown
            self._read(0.02)

    def end(self, within_s: float = 60.0) -> int:
        """Reads to the end of the process; its exit code."""
        self.until(lambda: self.process.poll() is not None, within_s)
        while self._read(0.0):
            pass
        return self.process.returncode

    def hang_up(self) -> None:
        """Closes the window."""
        if self._open:
            os.close(self._master)
        self._open = False

    def _read(self, within_s: float) -> bool:
        if not select.select([self._master], [], [], within_s)[0]:
            return False
        try:
            data = os.read(self._master, 65_536)
        except OSError:  # nobody has it open any more
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)
