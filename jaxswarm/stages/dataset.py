"""Word problems with a number as gold answer: to learn from, to be judged by, and for a round."""

import hashlib
import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from jaxswarm.errors import InputError
from jaxswarm.records import Question
from jaxswarm.stages import sources
from jaxswarm.stages.answers import normalise

GOLD_MARK = "####"
"""GSM8K writes the working, this mark, the final number. Without it a column is the number."""

HELD_OUT_SHARE = 10
"""Of a single file, one question in so many is held out."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Questions to learn from and to be judged by; no question is in both, or twice in one.

    `skipped` counts the rows that lack a question or a number as gold answer, `repeated` those
    whose question had been read before (the held-out split is read first, so that it stays whole).
    """

    train: tuple[Question, ...]
    held_out: tuple[Question, ...]
    skipped: int
    repeated: int

    def counts(self) -> str:
        """How many questions there are, and how many rows gave none, for people."""
        found = f"{len(self.train)} questions to learn from, {len(self.held_out)} held out"
        if self.skipped or self.repeated:
            lack = f"{self.skipped} rows lack a question or a number"
            found += f" ({lack}, {self.repeated} repeat one)"
        return found

    def fingerprint(self) -> str:
        """Names the training questions and their gold answers, in whatever order: 16 hex digits.

        Nodes of one swarm must agree in it, or a round's questions and rewards would differ between
        them.
        """
        lines = sorted(f"{question.id} {question.gold}" for question in self.train)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def load(
    source: str,
    *,
    subset: str = "",
    train_split: str = "train",
    held_out_split: str = "test",
    question_column: str = "question",
    answer_column: str = "answer",
) -> Dataset:
    """Reads a data set through `datasets`.

    Args:
      source: what exists on this machine comes first. A directory: one that `datasets` saved, or
        one that holds for each split a file `SPLIT.jsonl`, `.json` or `.parquet`, or shards
        `SPLIT-*.parquet`, itself or in its folder `subset`. Two files as "TRAIN,HELD_OUT". One
        file: every tenth question or so, by its hash, is held out. Else a hub id such as
        "openai/gsm8k".
      subset: the hub data set's configuration ("main" for GSM8K), "" where it has but one.
      train_split: the split to learn from; not read for one or two files.
      held_out_split: the split to evaluate on; not read for one or two files.
      question_column: the column of the problem's text.
      answer_column: the column of the gold answer: what follows its last "####", else all of it.

    Raises:
      InputError: the source can't be found, reached or read, lacks a split or a column, or has no
        usable question in a split.
    """
    splits = sources.read(source, subset, train_split, held_out_split)
    for split in splits:
        _check_column(split, "question_column", question_column)
        _check_column(split, "answer_column", answer_column)

    pool = _Pool(question_column, answer_column)
    if len(splits) == 1:
        questions = pool.take(splits[0])
        held_out = tuple(question for question in questions if _is_held_out(question))
        train = tuple(question for question in questions if not _is_held_out(question))
    else:
        held_out = pool.take(splits[1])
        train = pool.take(splits[0])

    for name, questions in (("training", train), ("held-out", held_out)):
        if not questions:
            raise InputError(
                f"{sources.FLAG}, {name} questions",
                got=source,
                expected="at least one row with a question and a number as answer "
                f"({pool.skipped} rows lack one, {pool.repeated} repeat a question)",
                remedy="see that --config.data.question_column and --config.data.answer_column are "
                f"the right columns, or {sources.USE_LOCAL_DATA}",
            )
    return Dataset(train, held_out, pool.skipped, pool.repeated)


def draw(
    questions: Sequence[Question], seed: int, round_index: int, count: int
) -> tuple[Question, ...]:
    """A round's questions: the same on every node that holds the same ones, in whatever order.

    Those `count` questions whose SHA-256 of (seed, round, question id) is lowest, lowest first.
    Rounds are drawn independently; within a round no question comes twice.
    """
    assert count <= len(questions), (count, len(questions))

    def rank(question: Question) -> bytes:
        return hashlib.sha256(f"{seed}\n{round_index}\n{question.id}".encode()).digest()

    return tuple(heapq.nsmallest(count, questions, key=rank))


def gold_of(answer: object) -> str | None:
    """The gold answer in a data set's answer column, normalised; None where it is no number."""
    return None if answer is None else normalise(_spelling_of(answer))


def _spelling_of(answer: object) -> str:
    return str(answer).rsplit(GOLD_MARK, 1)[-1].strip()


def _is_held_out(question: Question) -> bool:
    digest = hashlib.sha256(f"held out\n{question.id}".encode()).digest()
    return int.from_bytes(digest[:8]) % HELD_OUT_SHARE == 0


def _check_column(split: sources.Split, key: str, column: str) -> None:
    if split.rows and column not in split.rows[0]:
        raise InputError(
            f"--config.data.{key}",
            got=column,
            expected=f"a column of {split.name}, which has {', '.join(split.rows[0])}",
            remedy=f"name the column by --config.data.{key}=NAME, or {sources.USE_LOCAL_DATA}",
        )


class _Pool:
    """Turns rows into questions, over all splits; counts what it leaves out."""

    def __init__(self, question_column: str, answer_column: str):
        self._question_column = question_column
        self._answer_column = answer_column
        self._seen: set[str] = set()
        self.skipped = 0
        self.repeated = 0

    def take(self, split: sources.Split) -> tuple[Question, ...]:
        """The split's usable questions that no row before has asked."""
        return tuple(question for row in split.rows if (question := self._question(row)))

    def _question(self, row: sources.Row) -> Question | None:
        text = str(row.get(self._question_column) or "").strip()
        answer = row.get(self._answer_column)
        gold = gold_of(answer)
        if not text or gold is None:
            self.skipped += 1
            return None
        spelling = _spelling_of(answer)
        question = Question(Question.id_of(text), text, gold, spelling if spelling != gold else "")
        if question.id in self._seen:
            self.repeated += 1
            return None
        self._seen.add(question.id)
        return question
