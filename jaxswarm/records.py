"""What crosses the layers: frozen records of text, ids and small numbers. Standard library only."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType


class Stage(StrEnum):
    """The three stages of a round, in their order."""

    ANSWER = "answer"
    CRITIQUE = "critique"
    RESOLVE = "resolve"


STAGES = tuple(Stage)

NONE_RIGHT = "none"
"""The vote that says: no answer is right."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a node stands. Ordered as time runs: (round, index of the stage)."""

    round: int
    stage_index: int

    @property
    def stage(self) -> Stage:
        return STAGES[self.stage_index]

    def next(self) -> "Position":
        """The stage that follows; after the last one, the first of the next round."""
        steps = self.round * len(STAGES) + self.stage_index + 1
        return Position(*divmod(steps, len(STAGES)))

    def __str__(self) -> str:
        """For people, who count rounds from 1."""
        return f"round {self.round + 1} {self.stage}"


@dataclass(frozen=True, slots=True)
class Question:
    """One word problem of one's own data set."""

    id: str
    text: str
    gold: str
    """The right answer as a plain decimal number, normalised ("1080", "0.5", "-3")."""
    spelling: str = ""
    """How the data set writes that number, where it writes it otherwise ("1,080")."""

    @staticmethod
    def id_of(text: str) -> str:
        """The id that every node derives from the question's text: 16 hex digits."""
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Reply:
    """What one peer published for one question at one stage. Of several it is one rollout.

    `vote` (critique and resolve) is the `content_id` of the answer that the peer holds best,
    `NONE_RIGHT`, or "" where its text names none.
    """

    question_id: str
    text: str
    vote: str = ""


@dataclass(frozen=True, slots=True)
class StageOutput:
    """All that one peer publishes at the end of one stage."""

    peer: str
    position: Position
    replies: tuple[Reply, ...]


@dataclass(frozen=True, slots=True)
class PeerText:
    """One peer's text as it is shown to the model. Its index in its tuple is its number there."""

    peer: str
    text: str
    vote: str = ""


@dataclass(frozen=True, slots=True)
class Discussion:
    """What a node knows of one question when a stage begins."""

    question: Question
    answers: tuple[PeerText, ...] = ()
    critiques: tuple[PeerText, ...] = ()


@dataclass(frozen=True, slots=True)
class Score:
    """The reward of one completion: weighted parts by the criterion's name, and their sum."""

    parts: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def total(self) -> float:
        return sum(self.parts.values())


def content_id(text: str) -> str:
    """The name every node derives for an answer, whatever its number there: 16 hex digits."""
    return hashlib.sha256(text.strip().encode()).hexdigest()[:16]
