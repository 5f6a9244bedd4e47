"""Out of distribution: the embedded word problems with one step more than any that was trained.

Numbers are of the held-out side and sentences of the words that the tokenizer knows, as in
tools/embedded/problems.py.
"""

# ruff: noqa: E501 -- a table reads best with one sentence a line
import random

from jaxswarm.records import Question
from tools.embedded import problems
from tools.embedded.templates import Template

# fmt: off
FOUR_STEPS = (
    Template("{name} has {a} {things}. {He} buys {b}, loses {c}, finds {d} and gives {e} to {other}. How many {things} are left?", "a+b _-c _+d _-e"),
    Template("There are {a} people on a bus. Then {b} get off, {c} get on, {d} leave and {e} more come. How many people are on the bus?", "a-b _+c _-d _+e"),
    Template("{name} buys {b} boxes of {a} {things}, loses {c}, finds {d} and gives away {e}. How many {things} are left?", "a*b _-c _+d _-e"),
    Template("{name} has {a} {food}. {He} eats half of them, then buys {b}, loses {c} and finds {d}. How many {food} are left?", "a/2 _+b _-c _+d"),
)
# fmt: on


def questions(count: int) -> tuple[Question, ...]:
    """So many of them, always the same."""
    drawn = problems.draw_distinct(random.Random("four steps"), FOUR_STEPS, True, count)
    return tuple(
        Question(Question.id_of(problem.question), problem.question, str(problem.answer))
        for problem in drawn
    )
