"""What a node says of itself while it works: the phase, how far it is, how long phases took."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta

from jaxswarm.records import Position, Stage
from jaxswarm.report.reports import StageReport
from jaxswarm.report.status import Status, StatusLine
from jaxswarm.swarm.waiting import Waiting


class Progress:
    """Keeps a node's status line up to date, and the times that its metrics report.

    Progress within a stage and the time left go by the fastest stage of the same kind so far: the
    first one compiled. Before there is one, both are unknown.
    """

    def __init__(self, line: StatusLine, name: str, rounds: int, peers: Callable[[], int]):
        """Shows nothing yet.

        Args:
          line: where it is shown.
          name: the node's, for people.
          rounds: of the run; 0: without end.
          peers: tells how many are live.
        """
        self._line = line
        self._name = name
        self._rounds = rounds or None
        self._peers = peers
        self._position = Position(0, 0)
        self._phase_seconds: dict[str, float] = {}
        self._stage_seconds: dict[Stage, float] = {}
        self._last: StageReport | None = None

    @property
    def phase_seconds(self) -> Mapping[str, float]:
        """Wall time of the phases of this stage so far."""
        return dict(self._phase_seconds)

    def begin(self, position: Position) -> None:
        """A stage begins."""
        self._position = position
        self._phase_seconds = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Shows a phase of the stage and takes its time."""
        self.show(name)
        began = time.monotonic()
        yield
        self._phase_seconds[name] = time.monotonic() - began

    @contextmanager
    def meanwhile(self, name: str) -> Iterator[None]:
        """Shows a phase of what is done while the stage waits; its time is the stage's waiting."""
        self.show(f"waiting; {name} (further questions)")
        yield

    def end(self, report: StageReport) -> None:
        """The stage is over; its reward and speed are shown from now on."""
        stage, spent = report.position.stage, sum(self._phase_seconds.values())
        self._stage_seconds[stage] = min(spent, self._stage_seconds.get(stage, spent))
        self._last = report

    def wait(self, waiting: Waiting) -> None:
        """Shows for whom the node waits, and until when."""
        self._position = waiting.position
        until = datetime.now() + timedelta(seconds=waiting.deadline_s - waiting.waited_s)
        count = len(waiting.missing)
        self.show(f"waiting for {count} peer{'s' * (count != 1)} until {until:%H:%M:%S}")

    def show(self, phase: str, done: float | None = None) -> None:
        """Shows `phase`; `done`, where it is known, is the share of it that is behind."""
        spent = sum(self._phase_seconds.values())
        whole = self._stage_seconds.get(self._position.stage)
        # How far something else than a stage is tells nothing of the time that is left.
        eta_s = max(0.0, whole - spent) if whole and done is None else None
        if done is None:
            done = min(1.0, spent / whole) if whole else 0.0
        self._line.update(
            Status(
                node=self._name,
                position=self._position,
                rounds=self._rounds,
                phase=phase,
                progress=done,
                eta_s=eta_s,
                peers=self._peers(),
                tokens_per_s=self._last.tokens_per_s if self._last else None,
                reward=self._last.reward if self._last else None,
            )
        )

    def say(self, text: str) -> None:
        """A message that stays above the status line."""
        self._line.say(text)
