"""A batch in pieces, one after the other on the devices: their gradients add up to the batch's."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxswarm.errors import InputError
from jaxswarm.learner.packing import Packing
from jaxswarm.model.sharding import split_questions


class Rows(NamedTuple):
    """What the loss reads of a batch, or of one of its micro-batches."""

    prompt_QxP: jax.Array
    prompt_length_Q: jax.Array
    learnt_Q: jax.Array
    """Bool: the gradient of the question's group is not known to be zero."""
    token_QxGxC: jax.Array
    old_logprob_QxGxC: jax.Array
    advantage_QxG: jax.Array
    external_QxG: jax.Array
    weight_QxGxC: jax.Array
    share_QxGxC: jax.Array
    """1 / tokens of the whole batch that have a part in the loss, 0 for all others: for means of
    metrics."""
    packing: Packing[jax.Array] | None


_OF_QUESTION = ("prompt_QxP", "prompt_length_Q", "learnt_Q")
"""The fields of `Rows` that have no axis of the group."""


class Pieces(NamedTuple):
    """How a batch is cut into micro-batches."""

    by_question: int
    by_group: int

    @property
    def count(self) -> int:
        return self.by_question * self.by_group


def pieces(micro_batches: int, questions: int, ways: int) -> Pieces:
    """Cuts by questions first, and inside the groups what the batch has too few questions for.

    Where devices share the questions, each piece must have some of each device's: a piece that
    can't be divided among them would be computed by all. So there are fewer pieces, and yet no
    device has more of the batch in memory at a time than a single one would have.

    Args:
      micro_batches: as asked for.
      questions: of the batch.
      ways: parts that the devices cut the questions into: `sharding.ways_along`.
    """
    by_group = micro_batches // math.gcd(micro_batches, questions)
    return Pieces(math.gcd(micro_batches, questions // ways), by_group)


def check_micro_batches(micro_batches: int, questions: int, group: int, *, is_packed: bool) -> None:
    """Says at the start that a batch can be cut so, on however many devices.

    Raises:
      InputError: it can't.
    """
    by_group = pieces(micro_batches, questions, ways=1).by_group
    if group % by_group:
        raise InputError(
            "grpo.micro_batches",
            got=micro_batches,
            expected=f"a number that cuts {questions} questions x {group} completions evenly",
            remedy="set --config.grpo.micro_batches",
        )
    if is_packed and by_group > 1:
        raise InputError(
            "grpo.micro_batches",
            got=micro_batches,
            expected=f"a divisor of {questions} questions: packed completions can't be cut apart",
            remedy="set --config.grpo.micro_batches, or --config.grpo.row_buckets='()'",
        )


def cut(rows: Rows, cut_into: Pieces) -> Rows:
    """The same rows with a leading axis of pieces, each a whole grid of questions x group."""
    Q, G = rows.advantage_QxG.shape
    by_question, by_group = cut_into

    assert rows.packing is None or by_group == 1, "a packed group can't be cut"

    def grid(array: jax.Array, *, grouped: bool) -> jax.Array:
        array = split_questions(array, by_question)
        if not grouped:
            return jnp.repeat(array, by_group, axis=0)
        array = array.reshape(*array.shape[:2], by_group, G // by_group, *array.shape[3:])
        return array.swapaxes(1, 2).reshape(cut_into.count, Q // by_question, *array.shape[3:])

    grids = {
        name: grid(array, grouped=name not in _OF_QUESTION)
        for name, array in rows._asdict().items()
        if name != "packing"
    }
    return Rows(
        **grids, packing=jax.tree.map(partial(split_questions, pieces=by_question), rows.packing)
    )
