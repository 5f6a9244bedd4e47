"""What a node is doing right now: one live line for a person, `status.json` for other programs.

On a terminal the line stays in place and moves; elsewhere a plain line is printed when the phase
changes, and again from time to time, so that a long phase never looks dead.
"""

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jaxswarm.records import STAGES, Position, Stage
from jaxswarm.report.files import as_document, read_json, replace_json

STATUS_FILE = "status.json"

PLAIN_EVERY_S = 30.0
"""Where there is no terminal, the line is said again after so long without a change of phase."""

REFRESH_PER_S = 4

UNBOUNDED = 10_000
"""A width that no console has, to measure what something needs."""

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a node does, as it last said."""

    node: str
    """The name a person knows it by: its output directory's, such as "node-0"."""
    position: Position
    rounds: int | None
    """How many rounds the run has; None: it goes on until it is stopped."""
    phase: str
    """Such as "generate", "train" or "waiting for 2 peers until 12:03:10"."""
    progress: float
    """How much of the stage is done, 0 to 1."""
    eta_s: float | None
    """Seconds left of the stage when this was said; None: unknown."""
    peers: int
    """Live ones, this node left out."""
    tokens_per_s: float | None
    """Generated, in the last generation; None before the first."""
    reward: float | None
    """Mean total reward of the last stage that was finished; None before the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A status with its times (epoch seconds), as other programs find it in `status.json`."""

    status: Status
    pid: int
    said_at: float
    phase_began_at: float


class StatusLine:
    """The live line of this process. A context manager; updates may come from any thread."""

    def __init__(self, directory: Path, *, console: Console | None = None):
        """Nothing is shown before the first `update`.

        Args:
          directory: the run directory, in which `status.json` is rewritten at each update.
          console: where the line goes; standard output by default.
        """
        self._path = directory / STATUS_FILE
        self._console = console or Console()
        self._lock = threading.Lock()
        self._reading: Reading | None = None
        self._printed_at = 0.0
        self._closed = threading.Event()
        self._live: Live | None = None
        self._ticker: threading.Thread | None = None

    def __enter__(self) -> "StatusLine":
        # Decided once: a terminal whose window was closed is none any more.
        if is_live(self._console):
            self._live = Live(
                get_renderable=self._line,
                console=self._console,
                refresh_per_second=REFRESH_PER_S,
                transient=True,
            )
            self._live.start()
        else:
            self._ticker = threading.Thread(target=self._tick, name="status-line", daemon=True)
            self._ticker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Takes the live line away; what was said above it stays. May come from any thread."""
        self._closed.set()
        if self._live is not None:
            self._live.stop()
        if self._ticker is not None:
            self._ticker.join()

    def update(self, status: Status) -> None:
        """Shows `status` from now on and rewrites `status.json`.

        Raises:
          InputError: the file can't be written.
        """
        with self._lock:
            now, last = time.time(), self._reading
            changed = last is None or _activity(last.status) != _activity(status)
            began = now if changed or last is None else last.phase_began_at
            self._reading = Reading(
                status=status, pid=os.getpid(), said_at=now, phase_began_at=began
            )
            if changed and self._live is None:
                self._print()
            reading = self._reading
        write_reading(self._path, reading)

    def say(self, text: str) -> None:
        """Prints a message that stays, above the live line."""
        if self._live is not None:
            say_literally(self._console, text)
        else:
            with self._lock:
                self._plain(text)

    def _line(self) -> RenderableType:
        lines = Lines()
        if self._reading is not None:
            lines.add(self._reading, time.time())
        return lines

    def _tick(self) -> None:
        """Repeats the plain line while a phase lasts."""
        while not self._closed.wait(1.0):
            with self._lock:
                if self._reading and time.time() - self._printed_at >= PLAIN_EVERY_S:
                    self._print()

    def _print(self) -> None:
        assert self._reading is not None
        self._printed_at = time.time()
        self._plain(describe(self._reading, self._printed_at))

    def _plain(self, text: str) -> None:
        say_literally(self._console, f"{datetime.now():%H:%M:%S} {text}")


def say_literally(console: Console, text: str) -> None:
    """Prints a line as it is.

    Never wrapped, whatever width a console assumes: lines are read by grep, and commands in them
    are copied. Nor is a part of an address such as ":ab:" taken for an emoji.
    """
    console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)


def is_live(console: Console) -> bool:
    """Whether a line can stay in place there: not in a file, even one that is to have colours."""
    return console.is_interactive and console.file.isatty()


def describe(reading: Reading, now: float) -> str:
    """A status as one plain line.

    Args:
      reading: the status and its times.
      now: epoch seconds; the time in the phase and the time left are counted up to it.
    """
    return " | ".join(word for word in _words(reading, now) if word)


class Lines:
    """A terminal line for each node: in columns where these fit, else its beginning."""

    def __init__(self) -> None:
        self._grid = Table.grid(padding=(0, 1))
        for _ in range(10):
            self._grid.add_column(no_wrap=True)
        self._texts: list[Text] = []

    def add(self, reading: Reading, now: float) -> None:
        """A status, as a line that moves while the process behind it lives."""
        node, place, *rest = _words(reading, now)
        spinner = _SPINNER[int(now * REFRESH_PER_S) % len(_SPINNER)]
        bar = ProgressBar(total=1.0, completed=_done(reading, now), width=12)
        self._add(f"{spinner} {describe(reading, now)}", spinner, node, place, bar, *rest)

    def add_silent(self, node: str, words: str) -> None:
        """A node that has no status."""
        self._add(f"  {node} | {words}", "", node, words)

    def _add(self, text: str, *cells: RenderableType) -> None:
        self._texts.append(Text(text, no_wrap=True, overflow="ellipsis"))
        self._grid.add_row(*cells)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        needs = console.measure(self._grid, options=options.update_width(UNBOUNDED)).maximum
        if needs <= options.max_width:
            yield self._grid
        else:
            yield from self._texts


def duration(seconds: float) -> str:
    """A span of time for people: "8 s", "3 min 20 s", "2 h 5 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def write_reading(path: Path, reading: Reading) -> None:
    """Replaces `status.json` whole.

    Raises:
      InputError: it can't be written.
    """
    status = as_document(reading.status)
    position = reading.status.position
    status["position"] = {"round": position.round, "stage": str(position.stage)}
    times = {"pid": reading.pid, "said_at": reading.said_at}
    replace_json(path, status | times | {"phase_began_at": reading.phase_began_at})


def read_reading(path: Path) -> Reading | None:
    """The status of another process; None where there is none, or not of this version."""
    document = read_json(path)
    try:
        return _reading(document) if document else None
    except (KeyError, TypeError, ValueError):
        return None


def _reading(document: Mapping[str, Any]) -> Reading:
    values = dict(document)
    times = {name: values.pop(name) for name in ("pid", "said_at", "phase_began_at")}
    place = values.pop("position")
    position = Position(place["round"], STAGES.index(Stage(place["stage"])))
    return Reading(status=Status(position=position, **values), **times)


def _activity(status: Status) -> tuple[Position, str]:
    return status.position, status.phase


def _done(reading: Reading, now: float) -> float:
    """The progress, running on from what was said as the time left runs out."""
    said, eta_s = reading.status.progress, reading.status.eta_s
    if not eta_s or said >= 1.0:
        return said
    return min(0.99, said + (1.0 - said) * (now - reading.said_at) / eta_s)


def _words(reading: Reading, now: float) -> tuple[str, ...]:
    """The columns of a line. Rounds are counted from 1 for people, from 0 in files."""
    status = reading.status
    of = "" if status.rounds is None else f"/{status.rounds}"
    left = None if status.eta_s is None else status.eta_s - (now - reading.said_at)
    return (
        status.node,
        f"round {status.position.round + 1}{of} {status.position.stage}",
        f"{_done(reading, now):.0%}",
        f"{status.phase} ({duration(now - reading.phase_began_at)})",
        "" if left is None else f"ETA {duration(left)}",
        f"{status.peers} peer{'' if status.peers == 1 else 's'}",
        "" if status.tokens_per_s is None else f"{status.tokens_per_s:,.0f} tokens/s",
        "" if status.reward is None else f"reward {status.reward:.2f}",
    )
