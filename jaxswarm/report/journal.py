"""What the swarm said: an append-only log of every text published and received, with its rewards.

One line of JSON is one peer's output of one stage, so it is there whole or not at all. A node's
own output is on the disk before the network sees it: after a kill the node publishes that again,
word for word, and nothing else for the same position.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jaxswarm.records import STAGES, Position, Question, Reply, Score, Stage, StageOutput
from jaxswarm.report.files import AppendLog, read_lines

JOURNAL_FILE = "journal.jsonl"


@dataclass(frozen=True, slots=True)
class JournalState:
    """What a journal holds from some position on.

    `published`: one's own outputs. `received`: the peers' outputs, in the order in which they came.
    Of two for the same peer and position the first counts, as for every reader of the swarm.
    `unreadable`: the numbers of lines that a kill or another hand has torn. They stay in the file.
    """

    published: Mapping[Position, StageOutput]
    received: Mapping[Position, tuple[StageOutput, ...]]
    unreadable: tuple[int, ...] = ()


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
        """Notes a peer's output.

        Args:
          output: as it was read and checked.
          scores: the reward that this node gives each reply. One to a question that this node does
            not have has none.

        Raises:
          InputError: the disk is full or can't be written.
        """
        self._log.append(_line("received", output, {}, scores))

    def read(self, *, own: str, since: Position) -> "JournalState":
        """What stands in it from `since` on, as `read_journal` says."""
        return read_journal(self._path, own=own, since=since)

    def close(self) -> None:
        self._log.close()


def read_journal(path: Path, *, own: str, since: Position) -> JournalState:
    """What stands in the journal from `since` on, for a node that resumes there.

    Memory holds that part alone, however long the journal is. A missing file is an empty journal.

    Args:
      path: the journal.
      own: the node's peer id. Outputs published under another identity were another node's.
      since: positions before it are passed over.
    """
    published: dict[Position, StageOutput] = {}
    received: dict[Position, dict[str, StageOutput]] = {}
    unreadable: list[int] = []
    for number, record in read_lines(path):
        try:
            output, is_own = _output(record or {}), (record or {})["kind"] == "published"
        except (KeyError, TypeError, ValueError):
            unreadable.append(number)
            continue
        if output.position < since:
            continue
        if is_own and output.peer == own:
            published.setdefault(output.position, output)
        elif not is_own:
            received.setdefault(output.position, {}).setdefault(output.peer, output)
    return JournalState(
        MappingProxyType(published),
        MappingProxyType({at: tuple(by_peer.values()) for at, by_peer in received.items()}),
        tuple(unreadable),
    )


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
    position = Position(record["round"], STAGES.index(Stage(record["stage"])))
    replies = (Reply(r["question_id"], r["text"], r["vote"]) for r in record["replies"])
    return StageOutput(record["peer"], position, tuple(replies))
