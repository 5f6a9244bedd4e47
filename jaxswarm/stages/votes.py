"""Which answer a reply names. Numbers are a node's own; a vote travels as a content id."""

import re
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from jaxswarm.records import NONE_RIGHT, Discussion, Stage, content_id
from jaxswarm.stages.tags import last_tag

VOTE_TAG: Mapping[Stage, str] = MappingProxyType(
    {Stage.CRITIQUE: "identify", Stage.RESOLVE: "majority"}
)
"""The tag in which a stage's reply names an answer. The answer stage has none."""

_NUMBER = re.compile(
    r"(?P<mark>(?:\bstudent(?:\s*#)?|#)\s*)?(?P<number>[0-9]+(?:[.,][0-9]+)*)", re.IGNORECASE
)
_NONE = re.compile(r"\bnone\b", re.IGNORECASE)


def named_student(text: str, students: int) -> int | str | None:
    """The student that the content of a vote tag names.

    "Student #1", "student 1", "#1" and "1" all name student 1; all but the last do so amid other
    words too. "None", in any case, says that no answer is right.

    Args:
      text: the content of the tag.
      students: how many there are; they are numbered from 0.

    Returns:
      The student's number, `NONE_RIGHT`, or None where the text names nobody, two different ones
      ("Student 1 or 2"), a student and none, or a number out of range.
    """
    in_range = {str(number): number for number in range(students)}
    named: set[int | str | None] = set()
    marked = False
    for match in _NUMBER.finditer(text):
        digits = match["number"].lstrip("0") or "0"
        alone = match["number"] == text.strip().removesuffix(".")
        marked |= bool(match["mark"]) or alone
        # A number without a mark is a student's if it can be one; else it may be any sum or price.
        if match["mark"] or alone or digits in in_range:
            named.add(in_range.get(digits))
    if not marked:
        named = set()
    if _NONE.search(text):
        named.add(NONE_RIGHT)
    return named.pop() if len(named) == 1 else None


def vote_of(stage: Stage, reply: str, discussion: Discussion) -> str:
    """The vote in a reply: the named answer's content id, `NONE_RIGHT`, or "" if it names nobody.

    A reply of the answer stage never votes.
    """
    content = last_tag(reply, VOTE_TAG[stage]) if stage in VOTE_TAG else None
    choice = None if content is None else named_student(content, len(discussion.answers))
    if isinstance(choice, int):
        return content_id(discussion.answers[choice].text)
    return choice or ""


def shown_as(vote: str, discussion: Discussion) -> int | None:
    """The number of the voted answer here; the lowest, where peers gave equal texts."""
    ids = [content_id(answer.text) for answer in discussion.answers]
    return ids.index(vote) if vote in ids else None


def tally(discussion: Discussion) -> Counter[str]:
    """Votes of the critiques, counted by content id. One peer, one vote.

    A vote for an answer that isn't shown here doesn't count: no reply could name it.
    """
    votable = {content_id(answer.text) for answer in discussion.answers} | {NONE_RIGHT}
    return Counter(critique.vote for critique in discussion.critiques if critique.vote in votable)
