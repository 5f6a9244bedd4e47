"""The rewards of RL Swarm's first public version, value for value, as another `RewardTable`.

They are here so that its report's experiment can be repeated as it was; what is wrong in them is
wrong on purpose. Each is a small total function of the completion and of the same records as the
corrected ones (rewards.py), in the published units: a criterion can be below 0 or far above its
weight.

    answer   correctness            2.0   the answer tag holds the data set's gold, letter by letter
             integer                0.5   it is digits alone, by str.isdigit: "²" is, "-16" is not
             strict_format          0.5   the form with each tag on a line, and one line in each
             soft_format            0.5   the form with each tag and its content on one line
             xml_count              0.5   0.125 a mark with its line ends, of four; see `mark_count`
    critique proper_id              2.0   names "Student #N", with these letters
             correctness            2.0 x the named answer's rewards, its correctness at 1.0; 10
                                          for a none that counts, see `choice_worth`
             strict_format, soft_format as above, xml_count 0.75 (six marks)
    resolve  consensus              2.0   names what any vote names most, see `ballot`
             consensus_correctness  2.0 x as at critique
             question_recreation    1.0   difflib's ratio of letters
             final_correctness      2.0   as correctness
             strict_format, soft_format as above, xml_count 1.25 (ten marks)

The published code read answers and votes back out of the prompt. A reply's text alone is looked at
here, stripped as that reading stripped it, so a text can't forge a student; but every identify tag
in any answer or critique is a vote, as there.
"""

import re
from collections import Counter
from difflib import SequenceMatcher
from functools import partial
from types import MappingProxyType

from jaxswarm.records import Discussion, Stage
from jaxswarm.stages.rewards import Criterion, RewardTable
from jaxswarm.stages.tags import REPLY_TAGS

NONE_WORTH = 10.0
"""What a none that counts is worth, before its weight."""

_NONES = frozenset(
    {
        "None",
        "No one",
        "All answers are wrong",
        "All answers were wrong",
        "All are wrong",
        "All were wrong",
        "None are correct",
        "None were correct",
        "No one is correct",
    }
)


def content(text: str, tag: str) -> str:
    """What follows the last opening tag, up to a closing one; all of the text where there is none.

    Stripped.
    """
    return text.rsplit(f"<{tag}>", 1)[-1].split(f"</{tag}>", 1)[0].strip()


def correctness(completion: str, discussion: Discussion) -> float:
    """1 if the answer tag holds gold as the data set writes it, letter by letter."""
    question = discussion.question
    return float(content(completion, "answer") == (question.spelling or question.gold))


def integer(completion: str, discussion: Discussion) -> float:  # noqa: ARG001
    """1 if the answer tag holds what Python calls digits."""
    return float(content(completion, "answer").isdigit())


def strict_form(stage: Stage, completion: str, discussion: Discussion) -> float:  # noqa: ARG001
    """1 if each tag stands on a line, and between two of them one line."""
    form = "".join(rf"<{tag}>\n.*\n</{tag}>\n" for tag in REPLY_TAGS[stage]) + "$"
    return float(re.match(form, completion) is not None)


def soft_form(stage: Stage, completion: str, discussion: Discussion) -> float:  # noqa: ARG001
    """1 if the reply begins with the stage's tags in order, the content of each on one line.

    It is the published pattern `<a>.*?</a>\\s*<b>.*?</b>`, followed from edge to edge: tried as a
    pattern it takes minutes over some texts, and peers' texts are scored too.
    """
    first, *others = REPLY_TAGS[stage]
    starts = {len(first) + 2} if completion.startswith(f"<{first}>") else set()
    for tag, after in zip(REPLY_TAGS[stage], (*others, None), strict=True):
        edge = re.compile(rf"</{tag}>" + (rf"\s*<{after}>" if after else ""))
        reaches = [range(start, _line_end(completion, start) + 1) for start in starts]
        starts = {
            found.end()
            for found in edge.finditer(completion)
            if any(found.start() in reach for reach in reaches)
        }
    return float(bool(starts))


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def mark_count(stage: Stage, completion: str, discussion: Discussion) -> float:  # noqa: ARG001
    """0.125 for each tag mark with its line ends that stands there once, less what follows the end.

    What follows is charged at 0.001 a character, twice: after the last closing tag with the line
    end behind it and without. Where that line end is lacking, what follows is the whole reply.
    """
    *inner, last = REPLY_TAGS[stage]
    marks = [mark for tag in inner for mark in (f"<{tag}>\n", f"\n</{tag}>\n")]
    total = 0.125 * sum(completion.count(mark) == 1 for mark in marks)
    if completion.count(f"\n<{last}>\n") == 1:
        total += 0.125 - 0.001 * len(completion.split(f"\n</{last}>\n")[-1])
    if completion.count(f"\n</{last}>") == 1:
        total += 0.125 - 0.001 * (len(completion.split(f"\n</{last}>")[-1]) - 1)
    return total


def names_student(completion: str, discussion: Discussion) -> float:
    """1 if the identify tag holds the published name of a student that is shown."""
    return float(content(completion, "identify") in _students(discussion))


def choice_worth(tag: str, completion: str, discussion: Discussion) -> float:
    """What the named answer's own reply is worth; of a none `NONE_WORTH`, if it counts.

    It counts if no answer is shown, or if the first one is gold letter by letter: the published
    code compared as many answers as it was given completions, and held equal for wrong.
    """
    named = content(completion, tag)
    students = _students(discussion)
    if named in students:
        text = students[named]
        return sum(criterion.weight * criterion.function(text, discussion) for criterion in _PICKED)
    if named in _NONES:
        firsts = list(students.values())[:1]
        return NONE_WORTH * all(correctness(text, discussion) for text in firsts)
    return 0.0


def ballot(discussion: Discussion) -> Counter[str]:
    """The content of every identify tag in any text that is shown."""
    texts = (*discussion.answers, *discussion.critiques)
    pieces = (piece for text in texts for piece in text.text.split("<identify>")[1:])
    return Counter(piece.split("</identify>", 1)[0].strip() for piece in pieces)


def agrees(completion: str, discussion: Discussion) -> float:
    """1 if the majority tag names a student, or none, that no other has more votes than."""
    votes = ballot(discussion)
    named = content(completion, "majority")
    return float(named in votes and votes[named] == max(votes.values()))


def recreated(completion: str, discussion: Discussion) -> float:
    """difflib's ratio between the question tag's content and the question, by letters."""
    return SequenceMatcher(None, content(completion, "question"), discussion.question.text).ratio()


def _students(discussion: Discussion) -> dict[str, str]:
    return {f"Student #{n}": answer.text.strip() for n, answer in enumerate(discussion.answers)}


def _forms(stage: Stage) -> tuple[Criterion, ...]:
    return (
        Criterion("strict_format", 0.5, partial(strict_form, stage)),
        Criterion("soft_format", 0.5, partial(soft_form, stage)),
        Criterion("xml_count", 1.0, partial(mark_count, stage)),
    )


_PICKED = (
    Criterion("correctness", 1.0, correctness),
    Criterion("integer", 0.5, integer),
    *_forms(Stage.ANSWER),
)

PUBLISHED: RewardTable = MappingProxyType(
    {
        Stage.ANSWER: (Criterion("correctness", 2.0, correctness), *_PICKED[1:]),
        Stage.CRITIQUE: (
            Criterion("proper_id", 2.0, names_student),
            Criterion("correctness", 2.0, partial(choice_worth, "identify")),
            *_forms(Stage.CRITIQUE),
        ),
        Stage.RESOLVE: (
            Criterion("consensus", 2.0, agrees),
            Criterion("consensus_correctness", 2.0, partial(choice_worth, "majority")),
            Criterion("question_recreation", 1.0, recreated),
            Criterion("final_correctness", 2.0, correctness),
            *_forms(Stage.RESOLVE),
        ),
    }
)
"""The rewards as published: see the table at the head of this file."""
