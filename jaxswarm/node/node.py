"""One node's life: rounds of three stages, each of them one line from questions to merged texts.

    questions -> prompts -> token ids -> generate -> texts -> rewards -> publish
    -> advantages -> train step -> gather -> merge -> the next stage's questions

`Node._play` is that line. What stands around it: where a node goes next, what it says of itself,
and what it keeps so that a kill loses nothing.
"""

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from jaxswarm.errors import InputError
from jaxswarm.host import memory
from jaxswarm.learner.profile import profiled
from jaxswarm.node.conversation import Conversation, usable
from jaxswarm.node.evaluations import Evaluations
from jaxswarm.node.outcome import Outcome, stage_report
from jaxswarm.node.parts import NodeConfig, Parts
from jaxswarm.node.progress import Progress
from jaxswarm.node.resume import Start, facts
from jaxswarm.node.study import Study
from jaxswarm.records import STAGES, Discussion, Position, Stage
from jaxswarm.swarm.waiting import Gathered, OnWait, Waiting


class Node:
    """Runs rounds until they are done or it is told to stop."""

    stages = len(STAGES)
    """Of a round."""

    def __init__(self, config: NodeConfig, parts: Parts, start: Start):
        """Does nothing yet. `start`: from `jaxswarm.node.resume.resume`."""
        self._config = config
        self._parts = parts
        self._start = self._next = start.position
        self._conversation = Conversation(config, parts, start.past)
        self._last_step = parts.checkpointer.latest() or 0
        self._unsaved = 0
        self._progress = Progress(
            parts.status, config.name, config.rounds, lambda: len(parts.exchange.peers())
        )
        self._study = Study(config, parts, self._progress)
        self._refused: Counter[str] = Counter()
        self._joined_at = time.monotonic() - parts.metrics.resumed_at_s
        self._is_left_behind = False
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
            if self._unsaved:
                self._save(self._next)
            raise

    def _run(self) -> bool:
        config = self._config
        position, discussions = self._start, self._conversation.replay(self._start)
        if self._evaluations.is_due(position):
            self._evaluations.make(position, self._seconds)
        if not self._is_done(position):
            if config.first_peers:
                self._parts.exchange.wait_for_peers(
                    position, config.first_peers, config.stage_deadline_s, self._wait
                )
            fresh = not self._conversation.said(position)
            position, discussions = self._enter(position, discussions, joining=fresh)
        while not self._stopping and not self._is_done(position):
            position, discussions = self._play(position, discussions)
        if self._unsaved:
            self._save(position)
        if self._is_done(position):
            self._evaluations.make(position, self._seconds)
        return self._is_done(position)

    def stop(self) -> None:
        """Asks for an end after the stage that is running. For signal handlers."""
        self._stopping = True

    def _play(
        self, position: Position, discussions: tuple[Discussion, ...]
    ) -> tuple[Position, tuple[Discussion, ...]]:
        """One stage. Returns where to go on, and with what."""
        config, parts = self._config, self._parts
        self._progress.begin(position)
        parts.exchange.announce(position, published=False)
        plan, seed = parts.plans[position.stage], config.stage_seed(position)
        with self._traced(position):
            asked = self._study.ask(plan, discussions, seed, self._progress.phase)
            # Before the node learns: meanwhile the peers can read it.
            with self._progress.phase("publish"):
                own = self._conversation.publish(position, asked)
                parts.exchange.announce(position, published=True)
            outcome = self._study.learn(asked, self._progress.phase)
        self._has_learnt(position.next())
        with self._progress.phase("gather"):
            gathered = self._conversation.gather(position, discussions, self._meanwhile(position))
        merged = self._conversation.merge(position, discussions, gathered, own)
        self._refused.update(merged.refused)
        self._report(position, outcome, gathered)
        following = position.next()
        if following.stage_index == 0:
            return self._go_on(following, self._conversation.questions(following.round))
        return self._go_on(following, merged.discussions)

    @contextmanager
    def _traced(self, position: Position) -> Iterator[None]:
        """Where the config asks for it, traces the block and tells where its time went."""
        if position != Position(self._config.profile_round, 0):
            yield
            return
        with profiled() as profile:
            yield
        self._progress.say(f"where the time of {position} went: {profile}")

    def _meanwhile(self, position: Position) -> OnWait:
        """What is done while a stage waits for its peers: nothing but to say so, or more training.

        Answers to further questions are learnt from, once the peers have been waited for as long as
        this stage took, and while the deadline leaves that time. After each such step the peers'
        outputs are read again: nobody waits for this node longer than that.
        """
        if not self._config.train_while_waiting:
            return self._wait
        stage_s = sum(self._progress.phase_seconds.values())
        seeds = itertools.count(self._config.stage_seed(position) + 1)

        def learn_more(waiting: Waiting) -> bool:
            left_s = waiting.deadline_s - waiting.waited_s
            if min(waiting.waited_s, left_s) > stage_s and not self._stopping:
                seed = next(seeds)
                discussions = self._conversation.further_questions(seed)
                plan = self._parts.plans[Stage.ANSWER]
                asked = self._study.ask(plan, discussions, seed, self._progress.meanwhile)
                self._study.learn(asked, self._progress.meanwhile)
            return self._wait(waiting)

        return learn_more

    def _go_on(
        self, position: Position, discussions: tuple[Discussion, ...]
    ) -> tuple[Position, tuple[Discussion, ...]]:
        """From one stage to the next: keep what was learnt, measure it, stay with the swarm."""
        is_due = self._unsaved >= self._config.checkpoint_stages
        is_to_evaluate = self._evaluations.is_due(position)
        # An evaluation takes long enough to be killed in.
        if is_due or is_to_evaluate or self._stopping or self._is_done(position):
            self._save(position)
        self._handing_back.after_stage()
        if is_to_evaluate:
            self._evaluations.make(position, self._seconds)
        if self._stopping or self._is_done(position):
            return position, discussions
        return self._enter(position, discussions, joining=False)

    def _has_learnt(self, following: Position) -> None:
        """What was learnt by now is to be kept with `following` as the stage to go on at."""
        self._next = following
        # Counted, not told from the position: who skips rounds might never be at a multiple.
        self._unsaved += 1

    def _save(self, position: Position) -> None:
        """Keeps what was learnt, for a node that goes on at `position`."""
        self._progress.show("checkpoint")
        # A node that came back to its swarm is at an earlier stage than that of its last step.
        done = position.round * self.stages + position.stage_index
        self._last_step = max(done, self._last_step + 1)
        state = self._parts.learner.state
        self._unsaved = 0  # A save that fails ends the run, and is not to be tried again there.
        self._parts.checkpointer.save(self._last_step, state, facts(self._config, position))

    def _enter(
        self, position: Position, discussions: tuple[Discussion, ...], *, joining: bool
    ) -> tuple[Position, tuple[Discussion, ...]]:
        """Where the swarm is, if it is elsewhere; there the round begins anew.

        After a partition that may be behind: then what the journal holds from there on is played
        again, as after a kill. Only what was learnt meanwhile stays.
        """
        exchange = self._parts.exchange
        while not self._stopping:
            target = exchange.target(position, joining=joining)
            if target == position:
                break
            if self._is_done(target):
                self._stay_behind(target)
                break
            where = "ahead" if target > position else "behind"
            self._progress.say(f"the swarm is {where}: going from {position} to {target}")
            if target < position:
                self._conversation.go_back(target)
            discussions = self._conversation.questions(target.round)
            position, joining = target, False
            exchange.wait_for(position, self._config.stage_deadline_s, self._wait)
        return position, discussions

    def _stay_behind(self, target: Position) -> None:
        """The swarm is past this node's last round. No word of others ends a run: it plays on.

        Raises:
          InputError: it has not played at all, and would have no part in the swarm.
        """
        past = f"the next round of the swarm is {target.round + 1}"
        if self._next == Position(0, 0):
            raise InputError(
                "rounds",
                got=self._config.rounds,
                expected=f"more than {target.round}: {past}",
                remedy="set --config.rounds; with 0 it runs until it is stopped",
            )
        if not self._is_left_behind:
            self._progress.say(f"{past}, this node's last is {self._config.rounds}: going on alone")
        self._is_left_behind = True

    def _report(
        self, position: Position, outcome: Outcome, gathered: Gathered, external: int = 0
    ) -> None:
        late_used = len(usable(position, gathered.late))
        report = stage_report(
            outcome,
            position=position,
            seconds=self._seconds(),
            phase_seconds=self._progress.phase_seconds,
            questions=self._config.questions,
            has_reference=self._parts.learner.has_reference,
            peers=len(self._parts.exchange.peers()),
            outputs_read=len(gathered.outputs),
            missing=len(gathered.missing),
            late_used=late_used,
            late_unused=len(gathered.late) - late_used,
            external=external,
            stages=self.stages,
            refused=self._refused + Counter(gathered.refused),
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
