"""What a node and its swarm tell each other in a round: on the network and in the journal."""

from collections import Counter
from collections.abc import Container
from dataclasses import replace

from jaxswarm.node import batches
from jaxswarm.node.outcome import Asked
from jaxswarm.node.parts import NodeConfig, Parts
from jaxswarm.node.saying import say_once
from jaxswarm.records import Discussion, Position, Reply, Score, Stage, StageOutput
from jaxswarm.report.journal import JournalState
from jaxswarm.stages.dataset import draw
from jaxswarm.stages.merge import Merged, sift
from jaxswarm.swarm.waiting import Gathered, OnWait


class Conversation:
    """Publishes, gathers and merges, and says again after a kill what was said before it."""

    def __init__(self, config: NodeConfig, parts: Parts, past: JournalState):
        """Does nothing yet. `past`: what the journal holds from the start of the first round on."""
        self._config = config
        self._parts = parts
        self._past = past
        self._owed: dict[Position, frozenset[str]] = {}
        self._answers: tuple[StageOutput, tuple[StageOutput, ...]] | None = None

    def questions(self, round_index: int) -> tuple[Discussion, ...]:
        """The round's discussions before anybody has said anything."""
        return self._draw(self._config.swarm_seed, round_index)

    def further_questions(self, seed: int) -> tuple[Discussion, ...]:
        """As many questions as a round has, of this node's own choice."""
        return self._draw(seed, 0)

    def said(self, position: Position) -> bool:
        """Whether this node has published at `position` in an earlier life."""
        return position in self._past.published

    def replay(self, position: Position) -> tuple[Discussion, ...]:
        """The discussions as they stood at `position`, from the journal."""
        discussions = self.questions(position.round)
        for stage_index in range(position.stage_index):
            earlier = Position(position.round, stage_index)
            received, late = self._past.received.get(earlier, ()), self._past.late.get(earlier, ())
            gathered = Gathered(received, (), {}, 0.0, late)
            own = self._past.published[earlier]
            discussions = self.merge(earlier, discussions, gathered, own).discussions
        return discussions

    def go_back(self, position: Position) -> None:
        """From `position` on, what the journal holds will be said again word for word."""
        self._past = self._parts.journal.read(
            own=self._parts.exchange.peer, since=Position(position.round, stage_index=0)
        )
        self._owed = {}

    def publish(self, position: Position, asked: Asked) -> StageOutput:
        """Publishes one text for each question that was asked; see `say_once`."""
        plan = self._parts.plans[position.stage]
        outcome = asked.outcome
        scores: dict[Reply, Score] = {}
        for discussion, texts, group in zip(
            asked.discussions, outcome.texts, outcome.scores, strict=True
        ):
            totals = [score.total for score in group]
            chosen = plan.choose(self._config.publish, texts, totals, discussion)
            scores[plan.reply(texts[chosen], discussion)] = group[chosen]
        output = StageOutput(self._parts.exchange.peer, position, tuple(scores))
        return say_once(self._parts, self._past, output, asked, scores)

    def gather(
        self, position: Position, discussions: tuple[Discussion, ...], on_wait: OnWait
    ) -> Gathered:
        """The peers' outputs: those that the journal has from before a kill, and what comes now.

        With them what is late: it was missing in an earlier stage. What the journal has came in
        during the stage that it names, and in no other, whenever the network has it now.
        """
        gathered = self._parts.exchange.gather(
            position, self._config.stage_deadline_s, on_wait, self._owed
        )
        self._owed = {
            earlier: peers - {output.peer for output in gathered.late if output.position == earlier}
            for earlier, peers in self._owed.items()
            if earlier.round >= position.round - 1
        } | {position: frozenset(gathered.missing)}
        heard = self._past.heard
        outputs, late = (
            [output for output in came if (output.position, output.peer) not in heard]
            for came in (gathered.outputs, gathered.late)
        )
        asked = {round_: self._asked(round_) for round_ in {each.position.round for each in late}}
        for output in late:
            kept = self._sifted(output, asked[output.position.round])
            self._parts.journal.late(kept, position)
        plan = self._parts.plans[position.stage]
        about = {discussion.question.id: discussion for discussion in discussions}
        for output in outputs:
            # Rewards and the disk are not for what strangers send and no stage can show.
            kept = self._sifted(output, about)
            scores = {r: plan.score(r.text, about[r.question_id]) for r in kept.replies}
            self._parts.journal.received(kept, scores)
        return replace(
            gathered,
            outputs=_in_order(*self._past.received.get(position, ()), *outputs),
            late=_in_order(*self._past.late.get(position, ()), *late),
        )

    def merge(
        self,
        position: Position,
        discussions: tuple[Discussion, ...],
        gathered: Gathered,
        own: StageOutput,
    ) -> Merged:
        """The discussions with what the stage has brought in, late answers included."""
        late = usable(position, gathered.late)
        late_refused: Counter[str] = Counter()
        if late and self._answers:
            own_answer, answers = self._answers
            answering = Position(position.round, 0)
            questions = self.questions(position.round)
            sifted = sift(late, self._asked(position.round), self._config.max_peer_chars)
            late_refused.update(reason for _, _, reason in sifted if reason)
            merged = self._merge(answering, questions, (*answers, *late), own_answer)
            discussions = merged.discussions
        merged = self._merge(position, discussions, gathered.outputs, own)
        return replace(merged, refused=late_refused + Counter(merged.refused))

    def _asked(self, round_index: int) -> frozenset[str]:
        """The ids of a round's questions."""
        return frozenset(discussion.question.id for discussion in self.questions(round_index))

    def _sifted(self, output: StageOutput, questions: Container[str]) -> StageOutput:
        """What of a peer's output can be used."""
        sifted = sift((output,), questions, self._config.max_peer_chars)
        return replace(output, replies=tuple(reply for _, reply, reason in sifted if not reason))

    def _draw(self, seed: int, round_index: int) -> tuple[Discussion, ...]:
        train, count = self._parts.dataset.train, self._config.questions
        return tuple(Discussion(q) for q in draw(train, seed, round_index, count))

    def _merge(
        self,
        position: Position,
        discussions: tuple[Discussion, ...],
        outputs: tuple[StageOutput, ...],
        own: StageOutput,
    ) -> Merged:
        if position.stage is Stage.ANSWER:
            self._answers = own, outputs
        config, plans = self._config, self._parts.plans
        merged = plans[position.stage].merge(
            discussions,
            outputs,
            own,
            limit=config.peers_in_prompt,
            swarm_seed=config.swarm_seed,
            max_peer_chars=config.max_peer_chars,
        )
        following = position.next()
        if following.round != position.round:
            return merged
        shown, left_out = batches.shorten(
            self._parts.tokenizer,
            plans[following.stage],
            merged.discussions,
            own.peer,
            max(config.prompt_buckets),
        )
        return Merged(shown, Counter(merged.refused) + Counter({"too long": left_out}))


def _in_order(*outputs: StageOutput) -> tuple[StageOutput, ...]:
    return tuple(sorted(outputs, key=lambda output: (output.position, output.peer)))


def usable(position: Position, late: tuple[StageOutput, ...]) -> tuple[StageOutput, ...]:
    """What of the late outputs that came during `position` the next stage still can show.

    Answers that the critique stage could not show are shown at the resolve stage; for all else it
    is too late.
    """
    if position.stage is not Stage.CRITIQUE:
        return ()
    return tuple(output for output in late if output.position == Position(position.round, 0))
