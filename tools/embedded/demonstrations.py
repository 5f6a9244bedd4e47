"""Replies to imitate, for all three stages: half right, half wrong, some badly formed.

A model that only saw perfect replies would leave reinforcement learning nothing to do, and one that
saw none would find nothing to reinforce. So each habit that the rewards like stands beside one that
they don't, and both are imitated as often as the shares below say. Sampling then shows both; GRPO
sharpens towards the better.

Prompts come from the same code as a node's own, with simulated peers in the discussion.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from jaxswarm.records import Discussion, PeerText, Stage
from jaxswarm.stages.answers import final_answer
from jaxswarm.stages.prompts import TERSE, build
from jaxswarm.stages.tags import REPLY_TAGS
from jaxswarm.stages.votes import shown_as, vote_of
from tools.embedded.problems import Problem, Step, work

WRONG_OPERATION = 0.5
"""Share of workings in which one step adds for taking away, multiplies for adding, and so on."""

BAD_FORM = 0.3
"""Share of replies that lack a tag or a section, or go on after the last one."""

CARELESS_VOTE = 0.3
"""Share of critiques and forecasts of the majority that name anybody."""

SHORT_QUESTION = 0.5
"""Share of restated questions that keep only the last sentence."""

MOST_PEERS = 3
"""Students in a discussion, and votes on them: from one to so many."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """The chat messages of one stage, and replies to them."""

    messages: list[dict[str, str]]
    replies: tuple[str, ...]


def demonstrate(
    random_: random.Random,
    stage: Stage,
    problem: Problem,
    replies: int,
    mistaken: float = WRONG_OPERATION,
) -> Demonstration:
    """A stage on this problem, answered so many times, with simulated peers where it needs them.

    `mistaken` is the share of wrong workings in the replies; peers err as often as ever.
    """
    discussion = Discussion(problem.asked)
    if stage is not Stage.ANSWER:
        texts = (
            answer_reply(random_, problem, discussion)
            for _ in range(random_.randint(1, MOST_PEERS))
        )
        answers = tuple(PeerText(f"peer {number}", text) for number, text in enumerate(texts))
        discussion = replace(discussion, answers=answers)
    if stage is Stage.RESOLVE:
        texts = [critique_reply(random_, problem, discussion) for _ in discussion.answers]
        critiques = tuple(
            PeerText(f"peer {number}", text, vote_of(Stage.CRITIQUE, text, discussion))
            for number, text in enumerate(texts)
        )
        discussion = replace(discussion, critiques=critiques)
    write = WRITERS[stage]
    return Demonstration(
        build(TERSE, stage, discussion),
        tuple(write(random_, problem, discussion, mistaken) for _ in range(replies)),
    )


def answer_reply(
    random_: random.Random, problem: Problem, _: Discussion, mistaken: float = WRONG_OPERATION
) -> str:
    """Working and answer."""
    equations = _working(random_, problem.steps, mistaken)
    return _reply(random_, Stage.ANSWER, (";".join(equations), _result(equations)))


def critique_reply(
    random_: random.Random,
    problem: Problem,
    discussion: Discussion,
    mistaken: float = WRONG_OPERATION,
) -> str:
    """The students' answers side by side, a working of one's own, and who agrees with it."""
    given = [final_answer(answer.text) for answer in discussion.answers]
    equations = _working(random_, problem.steps, mistaken)
    agreeing = [number for number, answer in enumerate(given) if answer == _result(equations)]
    if random_.random() < CARELESS_VOTE:
        vote = _anybody(random_, discussion)
    else:
        vote = f"#{agreeing[0]}" if agreeing else "none"
    compared = " ".join("?" if answer is None else answer for answer in given)
    return _reply(random_, Stage.CRITIQUE, (compared, ";".join(equations), vote))


def resolve_reply(
    random_: random.Random,
    problem: Problem,
    discussion: Discussion,
    mistaken: float = WRONG_OPERATION,
) -> str:
    """The votes, the one that most of them name, the question again, working and answer."""
    votes = [_named(critique.vote, discussion) for critique in discussion.critiques]
    countable = [vote for vote in votes if vote != "?"]
    if random_.random() < CARELESS_VOTE or not countable:
        majority = _anybody(random_, discussion)
    else:
        majority = max(countable, key=countable.count)
    restated = problem.question
    if random_.random() < SHORT_QUESTION:
        restated = restated[restated.rfind(". ", 0, -1) + 2 :] if ". " in restated else restated
    equations = _working(random_, problem.steps, mistaken)
    contents = (" ".join(votes), majority, restated, ";".join(equations), _result(equations))
    return _reply(random_, Stage.RESOLVE, contents)


WRITERS = {
    Stage.ANSWER: answer_reply,
    Stage.CRITIQUE: critique_reply,
    Stage.RESOLVE: resolve_reply,
}


def _working(random_: random.Random, steps: Sequence[Step], share: float) -> tuple[str, ...]:
    """The right equations, or, as often as `share` says, with one operation mistaken."""
    right = work(steps)
    assert right is not None
    if random_.random() >= share:
        return right
    mistaken = [
        equations
        for index, step in enumerate(steps)
        for operation in "+-*/"
        if operation != step.operation
        and (
            equations := work(
                [*steps[:index], replace(step, operation=operation), *steps[index + 1 :]]
            )
        )
        and _result(equations) != _result(right)
    ]
    return random_.choice(mistaken) if mistaken else right


def _result(equations: Sequence[str]) -> str:
    return equations[-1].partition("=")[2]


def _anybody(random_: random.Random, discussion: Discussion) -> str:
    return random_.choice([*(f"#{number}" for number in range(len(discussion.answers))), "none"])


def _named(vote: str, discussion: Discussion) -> str:
    number = shown_as(vote, discussion)
    return vote if vote == "none" else "?" if number is None else f"#{number}"


def _reply(random_: random.Random, stage: Stage, contents: Sequence[str]) -> str:
    """The stage's tags around these contents, badly formed as often as `BAD_FORM` says."""
    sections = [
        (f"<{tag}>", content, f"</{tag}>")
        for tag, content in zip(REPLY_TAGS[stage], contents, strict=True)
    ]
    if random_.random() < BAD_FORM:
        spoilt = random_.randrange(len(sections))
        match random_.randrange(3):
            case 0:  # a closing tag forgotten
                sections[spoilt] = (*sections[spoilt][:2], "")
            case 1:  # a section forgotten
                del sections[spoilt]
            case _:  # talk after the end
                sections.append(("", contents[-1], ""))
    return "".join("".join(section) for section in sections)
