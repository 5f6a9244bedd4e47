"""What the swarm said: an append-only log of every text published and received, with its rewards.

One line of JSON is one peer's output of one stage, so it is there whole or not at all. A node's
own output is on the disk before the network sees it: after a kill the node publishes that again,
word for word, and nothing else for the same position.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jaxswarm.records import STAGES, Position, Question, Reply, Score, Stage, StageOutput
from jaxswarm.report.files import AppendLog, read_lines

JOURNAL_FILE = "journal.jsonl"


@dataclass(frozen=True, slots=True)
class JournalState:
    """What a journal holds from some position on, for a node that plays again from there.

    `published`: one's own outputs. `received`: the peers' outputs, in the order in which they came.
    Of two for the same peer and position the first counts, as for every reader of the swarm.
    `unreadable`: the numbers of lines that a kill or another hand has torn. They stay in the file.
    `late`: the peers' outputs of earlier stages, by the stage during which they came.
    """

    published: Mapping[Position, StageOutput]
    received: Mapping[Position, tuple[StageOutput, ...]]
    unreadable: tuple[int, ...] = ()
    late: Mapping[Position, tuple[StageOutput, ...]] = field(
        default_factory=lambda: MappingProxyType({})
    )

    @property
    def heard(self) -> frozenset[tuple[Position, str]]:
        """Position and peer of each output of a peer."""
        by_stage = (*self.received.values(), *self.late.values())
        return frozenset((each.position, each.peer) for outputs in by_stage for each in outputs)


class Journal:
    """The journal of one node, open for writing. The same path again goes on at its end."""

    def __init__(self, path: Path):
        """Opens `path`, made if missing.

        Raises:
          InputError: it can't be opened or written.
        """
        self._path = path
        self._log = AppendLog(path)

    def published(
        self, output: StageOutput, questions: Sequence[Question], scores: Mapping[Reply, Score]
    ) -> None:
        """Notes this node's own output. Call it before anything goes to the network.

        Returns when the line is on the disk.

        Args:
          output: what will be published.
          questions: those of the round; their texts stand beside the replies, for the reader.
          scores: the reward of each reply.

        Raises:
          InputError: the disk is full or can't be written.
        """
        texts = {question.id: question for question in questions}
        self._log.append(_line("published", output, texts, scores), durable=True)

    def received(self, output: StageOutput, scores: Mapping[Reply, Score]) -> None:
        """Notes a peer's output of the stage that this node has published in.

        Args:
          output: as it was read and checked.
          scores: the reward that this node gives each reply. One that it can't use has none.

        Raises:
          InputError: the disk is full or can't be written.
        """
        self._log.append(_line("received", output, {}, scores))

    def late(self, output: StageOutput, during: Position) -> None:
        """Notes a peer's output of an earlier stage, and during which it came.

        Raises:
          InputError: the disk is full or can't be written.
        """
        came = {"during": {"round": during.round, "stage": str(during.stage)}}
        self._log.append(_line("late", output, {}, {}) | came)

    def offered(self, output: StageOutput, scores: Mapping[Reply, Score]) -> None:
        """Notes a peer's output in a swarm that keeps no step. `scores`: as for `received`.

        It is for people alone: nothing is played again with it.

        Raises:
          InputError: the disk is full or can't be written.
        """
        self._log.append(_line("offered", output, {}, scores))

    def read(self, *, own: str, since: Position) -> "JournalState":
        """What stands in it from `since` on, as `read_journal` says."""
        return read_journal(self._path, own=own, since=since)

    def close(self) -> None:
        self._log.close()


def read_journal(path: Path, *, own: str, since: Position) -> JournalState:
    """What stands in the journal from `since` on, for a node that resumes there.

    Memory holds that part alone, however long the journal is. A missing file is an empty journal.
    Of the peers' outputs it is those that came after one's own of the stage: as many as the node
    has waited for there, however far ahead of it others were.

    Args:
      path: the journal.
      own: the node's peer id. Outputs published under another identity were another node's.
      since: positions before it are passed over.
    """
    published: dict[Position, StageOutput] = {}
    received: dict[Position, _Heard] = {}
    late: dict[Position, _Heard] = {}
    unreadable: list[int] = []
    for number, record in read_lines(path):
        try:
            output, kind = _output(record or {}), (record or {})["kind"]
            at = _position((record or {}).get("during", record))
        except (KeyError, TypeError, ValueError):
            unreadable.append(number)
            continue
        if at < since:
            continue
        if kind == "published" and output.peer == own:
            published.setdefault(at, output)
        elif kind in ("received", "late") and at in published:
            heard = (received if kind == "received" else late).setdefault(at, {})
            heard.setdefault((output.position, output.peer), output)
    return JournalState(
        MappingProxyType(published), _by_stage(received), tuple(unreadable), _by_stage(late)
    )


_Heard = dict[tuple[Position, str], StageOutput]
"""What came during a stage, by its own stage and peer."""


def _by_stage(heard: Mapping[Position, _Heard]) -> Mapping[Position, tuple[StageOutput, ...]]:
    return MappingProxyType({at: tuple(outputs.values()) for at, outputs in heard.items()})


def _line(
    kind: str,
    output: StageOutput,
    questions: Mapping[str, Question],
    scores: Mapping[Reply, Score],
) -> dict[str, Any]:
    return {
        "kind": kind,
        "round": output.position.round,
        "stage": str(output.position.stage),
        "peer": output.peer,
        "replies": [_reply(reply, questions, scores) for reply in output.replies],
    }


def _reply(
    reply: Reply, questions: Mapping[str, Question], scores: Mapping[Reply, Score]
) -> dict[str, Any]:
    """A reply as its reader wants it: the question first, then what was said, then its worth."""
    entry: dict[str, Any] = {"question_id": reply.question_id}
    question = questions.get(reply.question_id)
    if question is not None:
        entry |= {"question": question.text, "gold": question.gold}
    entry |= {"text": reply.text, "vote": reply.vote}
    score = scores.get(reply)
    if score is not None:
        entry |= {"reward": score.total, "reward_parts": dict(score.parts)}
    return entry


def _output(record: Mapping[str, Any]) -> StageOutput:
    replies = (Reply(r["question_id"], r["text"], r["vote"]) for r in record["replies"])
    return StageOutput(record["peer"], _position(record), tuple(replies))


def _position(place: Any) -> Position:
    return Position(place["round"], STAGES.index(Stage(place["stage"])))
