"""A node that plays rounds of three stages, each of them one line from questions to merged texts.

    questions -> prompts -> token ids -> generate -> texts -> rewards -> publish
    -> advantages -> train step -> gather -> merge -> the next stage's questions

`Node._play` is that line. Beside it stands where the node goes next; the rest is any node's life.
"""

import itertools

from jaxswarm.errors import InputError
from jaxswarm.node.conversation import Conversation, usable
from jaxswarm.node.life import Life
from jaxswarm.node.outcome import Heard
from jaxswarm.node.parts import NodeConfig, Parts
from jaxswarm.node.resume import Start
from jaxswarm.records import STAGES, Discussion, Position, Stage
from jaxswarm.swarm.waiting import Gathered, OnWait, Waiting


class Node(Life):
    """Answers, criticises and resolves in step with its swarm."""

    stages = len(STAGES)

    def __init__(self, config: NodeConfig, parts: Parts, start: Start):
        """Does nothing yet. `start`: from `jaxswarm.node.resume.resume`."""
        super().__init__(config, parts, start)
        self._conversation = Conversation(config, parts, start.past)
        self._discussions: tuple[Discussion, ...] = ()
        """Those that the next stage asks about."""
        self._is_left_behind = False

    def _begin(self, position: Position) -> Position:
        self._discussions = self._conversation.replay(position)
        return self._enter(position, joining=not self._conversation.said(position))

    def _play(self, position: Position) -> Position:
        config, parts, discussions = self._config, self._parts, self._discussions
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
        following = position.next()
        self._kept.learnt(following)
        with self._progress.phase("gather"):
            gathered = self._conversation.gather(position, discussions, self._meanwhile(position))
        merged = self._conversation.merge(position, discussions, gathered, own)
        self._refused.update(merged.refused)
        self._report(position, outcome, _heard(position, gathered))
        self._discussions = merged.discussions
        if following.stage_index == 0:
            self._discussions = self._conversation.questions(following.round)
        return self._enter(following, joining=False) if self._between(following) else following

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

    def _enter(self, position: Position, *, joining: bool) -> Position:
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
            self._discussions = self._conversation.questions(target.round)
            position, joining = target, False
            exchange.wait_for(position, self._config.stage_deadline_s, self._wait)
        return position

    def _stay_behind(self, target: Position) -> None:
        """The swarm is past this node's last round. No word of others ends a run: it plays on.

        Raises:
          InputError: it has not played at all, and would have no part in the swarm.
        """
        past = f"the next round of the swarm is {target.round + 1}"
        if self._kept.following == Position(0, 0):
            raise InputError(
                "rounds",
                got=self._config.rounds,
                expected=f"more than {target.round}: {past}",
                remedy="set --config.rounds; with 0 it runs until it is stopped",
            )
        if not self._is_left_behind:
            self._progress.say(f"{past}, this node's last is {self._config.rounds}: going on alone")
        self._is_left_behind = True


def _heard(position: Position, gathered: Gathered) -> Heard:
    late_used = len(usable(position, gathered.late))
    return Heard(
        outputs_read=len(gathered.outputs),
        missing=len(gathered.missing),
        late_used=late_used,
        late_unused=len(gathered.late) - late_used,
    )
