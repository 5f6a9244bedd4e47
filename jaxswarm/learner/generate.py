"""Completions for a batch of prompt groups: one prompt pass, then a loop, the cache in place."""

from functools import partial
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


class _Decoding(NamedTuple):
    """The carry of the loop; `step` tokens of each row are drawn."""

    step: jax.Array
    cache: Cache
    last_QxG: jax.Array
    rollout: Rollout[jax.Array]


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

    def running(state: _Decoding) -> jax.Array:
        return (state.step < budget_QxG) & ~state.rollout.ended_QxG

    def more(state: _Decoding, slots: int) -> jax.Array:
        return (state.step < slots) & jnp.any(running(state))

    def draw(state: _Decoding) -> _Decoding:
        with jax.named_scope(DECODE):
            hidden, layers = model(state.last_QxG[..., None], prefix=prefix, cache=state.cache)
            logits_BxV = model.logits(hidden.reshape(Q * group, -1))
        with jax.named_scope(SAMPLE):
            token_B, logprob_B = sample(logits_BxV, jax.random.fold_in(key, state.step), sampling)
        running_QxG = running(state)
        token_QxG = jnp.where(running_QxG, token_B.reshape(Q, group), 0)
        logprob_QxG = jnp.where(running_QxG, logprob_B.reshape(Q, group), 0.0)
        stopped_QxG = jnp.isin(token_QxG, jnp.array(stop_tokens, jnp.int32)) & running_QxG
        at = (0, 0, state.step)
        return _Decoding(
            state.step + 1,
            Cache(layers, state.step + 1),
            token_QxG,
            Rollout(
                jax.lax.dynamic_update_slice(state.rollout.token_QxGxC, token_QxG[..., None], at),
                state.rollout.length_QxG + running_QxG,
                jax.lax.dynamic_update_slice(
                    state.rollout.logprob_QxGxC, logprob_QxG[..., None], at
                ),
                state.rollout.ended_QxG | stopped_QxG,
            ),
        )

    sizes = cache_sizes(limit)
    state = _Decoding(
        jnp.int32(0),
        model.empty_cache(Q, group, sizes[0]),
        jnp.broadcast_to(last_Q[:, None], (Q, group)),
        Rollout(
            jnp.zeros((Q, group, limit), jnp.int32),
            jnp.zeros((Q, group), jnp.int32),
            jnp.zeros((Q, group, limit), jnp.float32),
            jnp.zeros((Q, group), bool),
        ),
    )
    for slots in sizes:
        state = state._replace(cache=grow(state.cache, slots))
        state = jax.lax.while_loop(partial(more, slots=slots), draw, state)
    return state.rollout
