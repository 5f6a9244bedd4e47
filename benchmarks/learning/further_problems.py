"""Two more kinds of held-out problems, to place what the embedded ones show.

Those have sentences of their own as well as numbers of their own. Nearer to the training are known
sentences with new numbers; further away, problems with one step more than any that was trained.
Numbers are of the held-out side and words those that the tokenizer knows, as in
tools/embedded/problems.py.
"""

# ruff: noqa: E501 -- a table reads best with one sentence a line
import random
from collections.abc import Sequence

from jaxswarm.records import Question
from tools.embedded import problems
from tools.embedded.templates import TRAINING, Template

# fmt: off
FOUR_STEPS = (
    Template("{name} has {a} {things}. {He} buys {b}, loses {c}, finds {d} and gives {e} to {other}. How many {things} are left?", "a+b _-c _+d _-e"),
    Template("There are {a} people on a bus. Then {b} get off, {c} get on, {d} leave and {e} more come. How many people are on the bus?", "a-b _+c _-d _+e"),
    Template("{name} buys {b} boxes of {a} {things}, loses {c}, finds {d} and gives away {e}. How many {things} are left?", "a*b _-c _+d _-e"),
    Template("{name} has {a} {food}. {He} eats half of them, then buys {b}, loses {c} and finds {d}. How many {food} are left?", "a/2 _+b _-c _+d"),
)
# fmt: on


def four_steps(count: int) -> tuple[Question, ...]:
    """So many of one step more, always the same."""
    return _draw("four steps", FOUR_STEPS, count)


def new_numbers(count: int) -> tuple[Question, ...]:
    """So many in the training's sentences, with numbers that no training problem has."""
    return _draw("new numbers", TRAINING, count)


def _draw(seed: str, templates: Sequence[Template], count: int) -> tuple[Question, ...]:
    drawn = problems.draw_distinct(random.Random(seed), templates, True, count)
    return tuple(problem.asked for problem in drawn)
