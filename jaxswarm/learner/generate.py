"""Completions for a batch of prompt groups: one prompt pass, then loops, the cache in place.

A loop ends when its cache is full, and the next has a larger one; or when few enough rows of each
group are left, and the next has only those.
"""

from functools import partial
from itertools import pairwise
from typing import Generic, NamedTuple

import jax
import jax.numpy as jnp

from jaxswarm.learner.arrays import A
from jaxswarm.learner.profile import DECODE, PROMPT, SAMPLE
from jaxswarm.learner.sampling import Sampling, sample
from jaxswarm.model.attention import KeyValues
from jaxswarm.model.qwen2 import Cache, Prefix, Qwen2, grow
from jaxswarm.model.sharding import join_questions, split_questions, ways_along

PROMPT_SCORES_BYTES = 4 << 30
"""What attention's scores of prompts may take on a device. They grow with the square of a prompt's
length: 32 questions of 4,096 tokens would take 25 GB with the 12 heads of Qwen2.5-1.5B."""

CACHE_SLOTS = 128
"""The cache grows by at least so many slots: attention reads all of it, in use or not."""
CACHE_SIZES = 4
"""At most so many sizes has a cache: each is a loop to compile."""

ROWS_LEFT = (2, 8)
"""Finished rows are dropped when a half of each group is left, and when an eighth is. Each is a
loop to compile."""


class Rollout(NamedTuple, Generic[A]):
    """G completions of each question. Entries past a row's length are 0."""

    token_QxGxC: A
    """int32, without the prompt; the stop token included."""
    length_QxG: A
    """int32, the stop token included."""
    logprob_QxGxC: A
    """float32, of each token under the distribution it was drawn from."""
    ended_QxG: A
    """bool: a stop token was drawn. False: cut at the limit."""


class _Rows(NamedTuple):
    """R rows of each group that are decoded."""

    index_QxR: jax.Array
    """int32: which of its group's rows it is."""
    budget_QxR: jax.Array
    last_QxR: jax.Array
    """int32: the token that was drawn last."""
    rollout: Rollout[jax.Array]


class _Decoding(NamedTuple):
    """The carry of a loop; `step` tokens of each row are drawn."""

    step: jax.Array
    cache: Cache
    rows: _Rows


def split_last(prompt_QxP: jax.Array, length_Q: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The last token of each prompt [Q], and the length of what stands before it.

    A prompt's last token is what each of its rows starts from: its logits are the first that a
    row needs, so those of the prompt's other positions are never built.
    """
    last_Q = jnp.take_along_axis(prompt_QxP, length_Q[:, None] - 1, axis=1)[:, 0]
    return last_Q, length_Q - 1


def prompt_pieces(questions: int, length: int, heads: int) -> int:
    """Into how many pieces a device's questions are cut to read their prompts, for want of memory.

    A prompt whose own scores, [heads, length, length] in float32, are too large is read alone.
    """
    of_question = 4 * heads * length**2
    return next(
        pieces
        for pieces in range(1, questions + 1)
        if questions % pieces == 0
        and (pieces == questions or questions // pieces * of_question <= PROMPT_SCORES_BYTES)
    )


def cache_sizes(limit: int) -> tuple[int, ...]:
    """How many slots the cache has, one size after the other; the last one is the limit."""
    step = max(CACHE_SLOTS, -(-limit // CACHE_SIZES))
    return (*range(step, limit, step), limit)


def row_counts(group: int) -> tuple[int, ...]:
    """How many rows of each group are decoded, one number after the other, falling."""
    left = (-(-group // part) for part in ROWS_LEFT)
    return tuple(dict.fromkeys((group, *left)))


def _read_prompts(
    model: Qwen2, prompt_QxP: jax.Array, length_Q: jax.Array
) -> tuple[KeyValues, ...]:
    """Each layer's keys and values of the prompts."""
    Q, P = prompt_QxP.shape
    pieces = prompt_pieces(Q // ways_along("question", Q), P, model.config.num_heads)
    if pieces == 1:
        return model.prompt(prompt_QxP, length_Q).layers
    split = split_questions(prompt_QxP, pieces), split_questions(length_Q, pieces)
    layers = jax.lax.map(lambda piece: model.prompt(*piece).layers, split)
    return jax.tree.map(join_questions, layers)


def generate(
    model: Qwen2,
    prompt_QxP: jax.Array,
    length_Q: jax.Array,
    budget_QxG: jax.Array,
    key: jax.Array,
    *,
    limit: int,
    sampling: Sampling,
    stop_tokens: tuple[int, ...],
) -> Rollout[jax.Array]:
    """Draws G completions of each prompt.

    Args:
      model: parameters in the dtype to compute in.
      prompt_QxP: int32, padded at the right.
      length_Q: int32, at least 1, without the padding.
      budget_QxG: int32, the most tokens of each completion: `limit`, or 0 for a row that is not
        wanted.
      key: the same key, prompts and parameters draw the same tokens.
      limit: C, static; the loop ends sooner when every row has ended.
      sampling: static.
      stop_tokens: each ends its row; none: every row has as many tokens as it may.
    """
    Q, group = budget_QxG.shape
    last_Q, before_Q = split_last(prompt_QxP, length_Q)
    with jax.named_scope(PROMPT):
        prefix = Prefix(_read_prompts(model, prompt_QxP, length_Q), before_Q)

    def draw(state: _Decoding) -> _Decoding:
        rows = state.rows
        with jax.named_scope(DECODE):
            hidden, layers = model(rows.last_QxR[..., None], prefix=prefix, cache=state.cache)
            logits_BxV = model.logits(hidden.reshape(rows.last_QxR.size, -1))
        with jax.named_scope(SAMPLE):
            # All rows' numbers, dropped or not: so a row's own don't depend on the others' ends.
            uniform_2xQxG = jax.random.uniform(jax.random.fold_in(key, state.step), (2, Q, group))
            uniform_2xQxR = jnp.take_along_axis(uniform_2xQxG, rows.index_QxR[None], axis=2)
            token_B, logprob_B = sample(logits_BxV, uniform_2xQxR.reshape(2, -1), sampling)
        running_QxR = _running(state)
        token_QxR = jnp.where(running_QxR, token_B.reshape(running_QxR.shape), 0)
        logprob_QxR = jnp.where(running_QxR, logprob_B.reshape(running_QxR.shape), 0.0)
        stopped_QxR = jnp.isin(token_QxR, jnp.array(stop_tokens, jnp.int32)) & running_QxR
        so_far, at, write = rows.rollout, (0, 0, state.step), jax.lax.dynamic_update_slice
        rollout = Rollout(
            write(so_far.token_QxGxC, token_QxR[..., None], at),
            so_far.length_QxG + running_QxR,
            write(so_far.logprob_QxGxC, logprob_QxR[..., None], at),
            so_far.ended_QxG | stopped_QxR,
        )
        return _Decoding(
            state.step + 1,
            Cache(layers, state.step + 1),
            rows._replace(last_QxR=token_QxR, rollout=rollout),
        )

    def decode(state: _Decoding, slots: int, left: int) -> _Decoding:
        """Until the slots are full or no group has more than `left` rows to go on with."""

        def more(state: _Decoding) -> jax.Array:
            running_Q = jnp.sum(_running(state), axis=1)
            return (state.step < slots) & jnp.any(running_Q > left)

        state = state._replace(cache=grow(state.cache, slots))
        return jax.lax.while_loop(more, draw, state)

    sizes = cache_sizes(limit)
    rows = _Rows(
        jnp.broadcast_to(jnp.arange(group, dtype=jnp.int32), (Q, group)),
        budget_QxG,
        jnp.broadcast_to(last_Q[:, None], (Q, group)),
        Rollout(
            jnp.zeros((Q, group, limit), jnp.int32),
            jnp.zeros((Q, group), jnp.int32),
            jnp.zeros((Q, group, limit), jnp.float32),
            jnp.zeros((Q, group), bool),
        ),
    )
    state = _Decoding(jnp.int32(0), model.empty_cache(Q, group, sizes[0]), rows)
    _, *fewer = (*row_counts(group), 0)
    for slots in sizes:
        state = decode(state, slots, fewer[0])
    rollout = state.rows.rollout
    for count, left in pairwise(fewer):
        state = decode(_narrowed(state, count), limit, left)
        rollout = _put_back(rollout, state.rows)
    return rollout


def _running(state: _Decoding) -> jax.Array:
    """Bool [Q, R]: rows that draw another token."""
    return (state.step < state.rows.budget_QxR) & ~state.rows.rollout.ended_QxG


def _narrowed(state: _Decoding, count: int) -> _Decoding:
    """The same with so many rows of each group: those that go on, and others where they are few."""
    first_QxR = jnp.argsort(~_running(state), axis=1, stable=True)[:, :count]

    def of_those(array: jax.Array, axis: int) -> jax.Array:
        return jax.vmap(partial(jnp.take, axis=axis - 1, mode="clip"))(array, first_QxR)

    layers = jax.tree.map(partial(of_those, axis=2), state.cache.layers)
    rows = jax.tree.map(partial(of_those, axis=1), state.rows)
    return state._replace(cache=state.cache._replace(layers=layers), rows=rows)


def _put_back(rollout: Rollout[jax.Array], rows: _Rows) -> Rollout[jax.Array]:
    """All rows' rollout with what some of them have drawn since."""

    def put(whole: jax.Array, index: jax.Array, part: jax.Array) -> jax.Array:
        return whole.at[index].set(part)

    return jax.tree.map(
        lambda whole, part: jax.vmap(put)(whole, rows.index_QxR, part), rollout, rows.rollout
    )
