"""Procedural word problems of one to three steps, with small whole numbers.

Training and held-out problems differ twice. By template: each side has sentences of its own. By
numbers: the numbers of a problem, sorted, are hashed, and the hash says to which side they belong;
so no held-out problem holds the same numbers as any training problem, in whatever order. (A single
step such as 7+5=12 can still come up on both sides, within a longer problem.)
"""

import hashlib
import json
import random
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxswarm.records import Question
from tools.embedded.templates import (
    FOODS,
    HE_NAMES,
    HELD_OUT,
    SHE_NAMES,
    THINGS,
    TRAINING,
    Template,
)

LARGEST = 30
"""No number of a problem, and no result on the way, is larger. Nor is any smaller than 1."""

HELD_OUT_SHARE = 6
"""One tuple of numbers in so many belongs to the held-out side."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operation on whole numbers; `left` None stands for the result of the step before."""

    left: int | None
    operation: str
    right: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One word problem and the steps that solve it."""

    question: str
    steps: tuple[Step, ...]

    @property
    def answer(self) -> int:
        """The right answer."""
        equations = work(self.steps)
        assert equations is not None, self
        return int(equations[-1].partition("=")[2])

    @property
    def asked(self) -> Question:
        """As a node asks it."""
        return Question(Question.id_of(self.question), self.question, str(self.answer))


def apply(operation: str, left: int, right: int) -> int | None:
    """The result, or None where it is no whole number from 1 to `LARGEST`."""
    match operation:
        case "+":
            result = left + right
        case "-":
            result = left - right
        case "*":
            result = left * right
        case "/" if left % right == 0:
            result = left // right
        case _:
            return None
    return result if 1 <= result <= LARGEST else None


def work(steps: Sequence[Step]) -> tuple[str, ...] | None:
    """The steps as equations ("7+5=12", "12-3=9"), or None where a result is out of range."""
    equations = []
    result = 0
    for step in steps:
        left = result if step.left is None else step.left
        outcome = apply(step.operation, left, step.right)
        if outcome is None:
            return None
        result = outcome
        equations.append(f"{left}{step.operation}{step.right}={result}")
    return tuple(equations)


def is_held_out(numbers: Sequence[int]) -> bool:
    """The side of the split on which these numbers fall, whatever their order."""
    digest = hashlib.sha256(",".join(map(str, sorted(numbers))).encode()).digest()
    return digest[0] % HELD_OUT_SHARE == 0


def draw(random_: random.Random, templates: Sequence[Template], held_out: bool) -> Problem:
    """One problem from one of the templates, with numbers of the asked side of the split."""
    template = random_.choice(templates)
    while True:
        slots = _draw_slots(random_, template)
        numbers = tuple(slots[name] for name in _slot_names(template) if name in slots)
        steps = _fill(template, slots)
        if is_held_out(numbers) == held_out and work(steps) is not None:
            break
    text = template.text.format(**_draw_words(random_), **slots)
    return Problem(text, steps)


def draw_distinct(
    random_: random.Random, templates: Sequence[Template], held_out: bool, count: int
) -> tuple[Problem, ...]:
    """`count` problems, no two of them with the same text."""
    problems: dict[str, Problem] = {}
    while len(problems) < count:
        problem = draw(random_, templates, held_out)
        problems.setdefault(problem.question, problem)
    return tuple(problems.values())


def training_problems(random_: random.Random) -> Iterator[Problem]:
    """Training problems without end."""
    while True:
        yield draw(random_, TRAINING, held_out=False)


def write_data_set(directory: Path, seed: int, training: int, held_out: int) -> None:
    """Writes train.jsonl and held_out.jsonl, with GSM8K's columns `question` and `answer`."""
    sides = {"train": (TRAINING, False, training), "held_out": (HELD_OUT, True, held_out)}
    directory.mkdir(parents=True, exist_ok=True)
    for name, (templates, is_held_out_side, count) in sides.items():
        random_ = random.Random(f"{seed} {name}")
        problems = draw_distinct(random_, templates, is_held_out_side, count)
        lines = (json.dumps(_row(problem)) + "\n" for problem in problems)
        (directory / f"{name}.jsonl").write_text("".join(lines))


def _row(problem: Problem) -> dict[str, str]:
    equations = work(problem.steps)
    assert equations is not None, problem
    return {
        "question": problem.question,
        "answer": "\n".join((*equations, f"#### {problem.answer}")),
    }


def _slot_names(template: Template) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(template.text) if name]


def _draw_slots(random_: random.Random, template: Template) -> dict[str, int]:
    """Small factors and divisors, larger numbers where something is taken away or shared."""
    slots = {}
    for left, operation, right in template.steps.split():
        if left.isalpha():
            slots[left] = random_.randint(4, 20) if operation in "-/" else random_.randint(2, 10)
        if right.isalpha():
            slots[right] = random_.randint(2, 5) if operation in "*/" else random_.randint(2, 10)
    return slots


def _fill(template: Template, slots: dict[str, int]) -> tuple[Step, ...]:
    def value(symbol: str) -> int:
        return int(symbol) if symbol.isdigit() else slots[symbol]

    return tuple(
        Step(None if left == "_" else value(left), operation, value(right))
        for left, operation, right in template.steps.split()
    )


def _draw_words(random_: random.Random) -> dict[str, str]:
    male = random_.random() < 0.5
    name = random_.choice(HE_NAMES if male else SHE_NAMES)
    other = random_.choice([other for other in HE_NAMES + SHE_NAMES if other != name])
    return {
        "name": name,
        "other": other,
        "he": "he" if male else "she",
        "He": "He" if male else "She",
        "his": "his" if male else "her",
        "things": random_.choice(THINGS),
        "food": random_.choice(FOODS),
    }
