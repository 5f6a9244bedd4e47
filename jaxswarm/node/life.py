"""A node's life, whatever it plays: what stands around a stage, from the first to the last.

It says what it does, keeps what it learns so that a kill loses nothing, measures itself, and ends
when it is done or told to.
"""

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from jaxswarm.errors import InputError
from jaxswarm.host import memory
from jaxswarm.learner.profile import profiled
from jaxswarm.node.evaluations import Evaluations
from jaxswarm.node.keeping import Keeping
from jaxswarm.node.outcome import Heard, Outcome, stage_report
from jaxswarm.node.parts import NodeConfig, Parts
from jaxswarm.node.progress import Progress
from jaxswarm.node.resume import Start
from jaxswarm.node.study import Study
from jaxswarm.records import Position
from jaxswarm.swarm.waiting import Waiting


class Life(ABC):
    """Runs rounds until they are done or it is told to stop."""

    stages: ClassVar[int]
    """Of a round."""

    def __init__(self, config: NodeConfig, parts: Parts, start: Start):
        """Does nothing yet. `start`: from `jaxswarm.node.resume.resume`."""
        self._config = config
        self._parts = parts
        self._start = start
        self._progress = Progress(
            parts.status, config.name, config.rounds, lambda: len(parts.exchange.peers())
        )
        self._study = Study(config, parts, self._progress)
        self._kept = Keeping(config, parts, self._progress, start.position, self.stages)
        self._refused: Counter[str] = Counter()
        """Of peers' outputs, what was read and not used, by reason."""
        self._joined_at = time.monotonic() - parts.metrics.resumed_at_s
        self._stopping = False
        self._evaluations = Evaluations(
            config, parts, self._progress, start.position, lambda: self._stopping
        )
        self._handing_back = memory.HandingBack(self.stages)

    def run(self) -> bool:
        """Returns True when all rounds are done, False when it was stopped before.

        Raises:
          InputError: an end that a person must see to. What was learnt is saved.
        """
        try:
            return self._run()
        except InputError:
            self._kept.save_rest(self._kept.following)
            raise

    def stop(self) -> None:
        """Asks for an end after the stage that is running. For signal handlers."""
        self._stopping = True

    @abstractmethod
    def _begin(self, position: Position) -> Position:
        """Where to take the first stage, for a node that would take it at `position`."""

    @abstractmethod
    def _play(self, position: Position) -> Position:
        """One stage. Returns where to go on."""

    def _run(self) -> bool:
        position = self._start.position
        self._progress.begin(position)
        if self._evaluations.is_due(position):
            self._evaluations.make(position, self._seconds)
        if not self._is_done(position):
            if self._config.first_peers:
                self._parts.exchange.wait_for_peers(
                    position, self._config.first_peers, self._config.stage_deadline_s, self._wait
                )
            position = self._begin(position)
        while not self._stopping and not self._is_done(position):
            position = self._play(position)
        self._kept.save_rest(position)
        if self._is_done(position):
            # Nobody is to wait for a node that only measures itself.
            self._parts.exchange.leave()
            self._evaluations.make(position, self._seconds)
        return self._is_done(position)

    def _between(self, following: Position) -> bool:
        """Between two stages: keeps what was learnt, measures it. False if the node is to end."""
        is_over = self._is_done(following)
        is_to_evaluate = not is_over and self._evaluations.is_due(following)
        # An evaluation takes long enough to be killed in.
        if self._kept.is_due or is_to_evaluate or self._stopping or is_over:
            self._kept.save(following)
        self._handing_back.after_stage()
        if is_to_evaluate:
            self._evaluations.make(following, self._seconds)
        return not (self._stopping or is_over)

    @contextmanager
    def _traced(self, position: Position) -> Iterator[None]:
        """Where the config asks for it, traces the block and tells where its time went."""
        if position != Position(self._config.profile_round, 0):
            yield
            return
        with profiled() as profile:
            yield
        self._progress.say(f"where the time of {position} went: {profile}")

    def _report(self, position: Position, outcome: Outcome, heard: Heard) -> None:
        report = stage_report(
            outcome,
            heard,
            position=position,
            seconds=self._seconds(),
            phase_seconds=self._progress.phase_seconds,
            questions=self._config.questions,
            has_reference=self._parts.learner.has_reference,
            peers=len(self._parts.exchange.peers()),
            stages=self.stages,
            refused=self._refused + Counter(self._parts.exchange.refused()),
        )
        self._parts.metrics.write(report)
        self._progress.end(report)

    def _wait(self, waiting: Waiting) -> bool:
        """Tells what is waited for. False, and the wait ends, once the node is to stop."""
        self._progress.wait(waiting)
        return not self._stopping

    def _seconds(self) -> float:
        """Since the node first joined; the time that it was down counts in nothing."""
        return time.monotonic() - self._joined_at

    def _is_done(self, position: Position) -> bool:
        return 0 < self._config.rounds <= position.round
