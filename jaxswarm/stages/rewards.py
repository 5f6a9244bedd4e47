"""What each stage pays for: criteria, each a small total function, and the tables that weigh them.

The whole design at a glance (the weights of `CORRECTED`; each criterion gives 0 to 1):

    answer   correctness            2.0   the final answer is the gold number
             integer                0.5   it is a clean number; an integer, where gold is one
             format                 0.5   the reply is exactly think, answer
             tags                   0.5   0.125 for each opening or closing tag that stands there
                                          once; text after the last closing tag costs 0.001 a
                                          character, down to 0
                                    3.5
    critique valid_choice           2.0   names one student that is shown; None only if no answer
                                          is right
             choice_quality         2.0   the named answer's own share of the 3.5 above; None pays
                                          in full, only if no answer is right
             format                 0.5   the reply is exactly compare, explain, identify
             tags                   0.75
                                    5.25
    resolve  agreement              2.0   names what most critiques name; of n tied, each pays 1/n
             consensus_correctness  2.0   quality, as above, of the answer named as the majority's
             restated               1.0   how far the question is repeated word for word
             correctness            2.0   the final answer is the gold number
             format                 0.5   the reply is exactly summarize_feedback, majority,
                                          question, think, answer
             tags                   1.25
                                    8.75

Every name that a reply gives is resolved against the structured `Discussion`, never against prompt
text. Where nobody has answered there is no pick to be right about: None pays nothing then.

The weights and criteria are those of RL Swarm's first public version, mended where it paid for the
wrong thing. Another set of weights or criteria is another `RewardTable` over functions of the same
type.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache, partial
from types import MappingProxyType

from jaxswarm.records import NONE_RIGHT, Discussion, Score, Stage, content_id
from jaxswarm.stages.answers import final_answer, is_correct
from jaxswarm.stages.tags import REPLY_TAGS, is_well_formed, last_tag
from jaxswarm.stages.votes import tally, vote_of

TAG_WORTH = 0.125
"""Reward of one opening or closing tag that stands in a reply exactly once."""

TRAILING_COST = 0.001
"""Reward lost for each character after the last closing tag."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing that a stage pays for: `weight` times the function's value, which is in [0, 1]."""

    name: str
    weight: float
    function: Callable[[str, Discussion], float]


RewardTable = Mapping[Stage, tuple[Criterion, ...]]


def score(table: RewardTable, stage: Stage, completion: str, discussion: Discussion) -> Score:
    """The reward of one completion for `stage`, part by part. Total: any string has a score."""
    return _score(table[stage], completion, discussion)


def _score(criteria: tuple[Criterion, ...], completion: str, discussion: Discussion) -> Score:
    return Score(
        MappingProxyType({c.name: c.weight * c.function(completion, discussion) for c in criteria})
    )


# Criteria of any stage.


def correctness(completion: str, discussion: Discussion) -> float:
    """1 if the final answer is the gold number."""
    return float(is_correct(completion, discussion.question.gold))


def well_formed(stage: Stage, completion: str, discussion: Discussion) -> float:  # noqa: ARG001
    """1 if the reply is exactly the stage's tags in order, over any number of lines."""
    return float(is_well_formed(stage, completion))


def tags_present(stage: Stage, completion: str, discussion: Discussion) -> float:  # noqa: ARG001
    """The share of tag marks that stand in the reply exactly once, less the cost of what follows.

    It gives a model that has yet to learn the format something to climb. Only text after the last
    closing tag is charged; white space at the end is free.
    """
    openings = [f"<{tag}>" for tag in REPLY_TAGS[stage]]
    closings = [f"</{tag}>" for tag in REPLY_TAGS[stage]]
    marks = openings + closings
    worth = TAG_WORTH * sum(completion.count(mark) == 1 for mark in marks)
    ends = [completion.rfind(mark) + len(mark) for mark in closings if mark in completion]
    trailing = len(completion[max(ends) :].strip()) if ends else 0
    return max(0.0, worth - TRAILING_COST * trailing) / (TAG_WORTH * len(marks))


# Criteria of the answer stage.


def integer(completion: str, discussion: Discussion) -> float:
    """1 if the final answer is a clean number; an integer ("18.00" is one) where gold is one."""
    answer = final_answer(completion)
    return float(answer is not None and ("." in discussion.question.gold or "." not in answer))


# Criteria of the stages that name an answer.


def none_is_right(discussion: Discussion) -> bool:
    """Whether there are answers and all of them are wrong."""
    gold = discussion.question.gold
    return bool(discussion.answers) and not any(
        is_correct(answer.text, gold) for answer in discussion.answers
    )


def is_right(stage: Stage, completion: str, discussion: Discussion) -> bool:
    """Whether the reply's verdict is right: its final answer, or in a critique the answer it picks.

    No reward of its own, but what the metrics call correct.
    """
    if stage != Stage.CRITIQUE:
        return is_correct(completion, discussion.question.gold)
    vote = vote_of(stage, completion, discussion)
    if vote == NONE_RIGHT:
        return none_is_right(discussion)
    picked = (answer.text for answer in discussion.answers if content_id(answer.text) == vote)
    return any(is_correct(text, discussion.question.gold) for text in picked)


def valid_choice(stage: Stage, completion: str, discussion: Discussion) -> float:
    """1 if the reply names one of the students shown; None counts only when no answer is right."""
    vote = vote_of(stage, completion, discussion)
    return float(none_is_right(discussion) if vote == NONE_RIGHT else vote != "")


def choice_quality(
    criteria: tuple[Criterion, ...], stage: Stage, completion: str, discussion: Discussion
) -> float:
    """The named answer's own score by the answer stage's `criteria`, as a share of the highest.

    None pays in full, as a right and well-formed pick does, and only when no answer is right.
    """
    vote = vote_of(stage, completion, discussion)
    if vote == NONE_RIGHT:
        return float(none_is_right(discussion))
    for answer in discussion.answers:
        if content_id(answer.text) == vote:
            return _share_of_best(criteria, answer.text, discussion)
    return 0.0


@lru_cache(maxsize=256)  # a group's completions name the same few answers
def _share_of_best(criteria: tuple[Criterion, ...], answer: str, discussion: Discussion) -> float:
    best = sum(criterion.weight for criterion in criteria)
    return _score(criteria, answer, discussion).total / best


# Criteria of the resolve stage.


def agreement(completion: str, discussion: Discussion) -> float:
    """1 if the reply names what most critiques name, 1/n if n are tied, 0 if nobody votes."""
    votes = tally(discussion)
    leaders = [vote for vote, count in votes.items() if count == max(votes.values())]
    named = vote_of(Stage.RESOLVE, completion, discussion)
    return 1.0 / len(leaders) if named in leaders else 0.0


def restated(completion: str, discussion: Discussion) -> float:
    """How far the question tag repeats the question: difflib's ratio 2M/T over words.

    Over words, since over letters any two English texts are alike by a quarter, and a long reply
    takes tenths of a second.
    """
    words = (last_tag(completion, "question") or "").split()
    question = discussion.question.text.split()
    if not words or not question:
        return 0.0
    return SequenceMatcher(None, words, question, autojunk=False).ratio()


def _form(stage: Stage) -> tuple[Criterion, Criterion]:
    marks = 2 * len(REPLY_TAGS[stage])
    return (
        Criterion("format", 0.5, partial(well_formed, stage)),
        Criterion("tags", TAG_WORTH * marks, partial(tags_present, stage)),
    )


_ANSWER = (
    Criterion("correctness", 2.0, correctness),
    Criterion("integer", 0.5, integer),
    *_form(Stage.ANSWER),
)

CORRECTED: RewardTable = MappingProxyType(
    {
        Stage.ANSWER: _ANSWER,
        Stage.CRITIQUE: (
            Criterion("valid_choice", 2.0, partial(valid_choice, Stage.CRITIQUE)),
            Criterion("choice_quality", 2.0, partial(choice_quality, _ANSWER, Stage.CRITIQUE)),
            *_form(Stage.CRITIQUE),
        ),
        Stage.RESOLVE: (
            Criterion("agreement", 2.0, agreement),
            Criterion(
                "consensus_correctness", 2.0, partial(choice_quality, _ANSWER, Stage.RESOLVE)
            ),
            Criterion("restated", 1.0, restated),
            Criterion("correctness", 2.0, correctness),
            *_form(Stage.RESOLVE),
        ),
    }
)
"""The default rewards: see the table at the head of this file."""
