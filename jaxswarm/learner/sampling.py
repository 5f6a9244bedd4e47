"""Drawing the next token, and its log-probability under the distribution it was drawn from."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxswarm.errors import InputError


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. Truncation biases GRPO's importance ratio: leave it off in training."""

    temperature: float = 1.0
    """0: greedy."""
    top_k: int = 0
    """Keep the k likeliest tokens; 0: all."""
    top_p: float = 1.0
    """Keep the likeliest tokens that together reach this probability; 1: all."""

    def __post_init__(self) -> None:
        for name, got, ok, expected in (
            ("temperature", self.temperature, self.temperature >= 0, "0 (greedy) or more"),
            ("top_k", self.top_k, self.top_k >= 0, "0 (all tokens) or more"),
            ("top_p", self.top_p, 0 < self.top_p <= 1, "above 0, up to 1 (all tokens)"),
        ):
            if not ok:
                raise InputError(
                    f"generation.{name}",
                    got=got,
                    expected=expected,
                    remedy=f"set --config.generation.{name}",
                )


GREEDY = Sampling(temperature=0.0)

BLOCK = 128
"""Tokens of a block. First a block is drawn, of 1,187 with Qwen2.5, then a token of it."""


def sample(
    logits_BxV: jax.Array, uniform_2xB: jax.Array, sampling: Sampling
) -> tuple[jax.Array, jax.Array]:
    """One token for each row.

    Args:
      logits_BxV: float32.
      uniform_2xB: float32, random numbers of [0, 1); unused when greedy.
      sampling: static.

    Returns:
      token_B int32, and logprob_B float32 under the tempered and truncated distribution. Greedy
      tokens carry their log-probability at temperature 1, since their own would always be 0.
    """
    if sampling.temperature == 0:
        token_B = jnp.argmax(logits_BxV, axis=-1)
        total_B = jax.nn.logsumexp(logits_BxV, axis=-1)
    else:
        logits_BxV = truncate(logits_BxV / sampling.temperature, sampling.top_k, sampling.top_p)
        token_B, total_B = _draw(logits_BxV, uniform_2xB)
    chosen_B = jnp.take_along_axis(logits_BxV, token_B[:, None], axis=-1)[:, 0]
    return token_B.astype(jnp.int32), chosen_B - total_B


def _draw(logits_BxV: jax.Array, uniform_2xB: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Tokens by the inverse of their cumulative distribution, and the rows' log-sum-exp.

    A block of tokens is drawn by its sum, then a token of the block: two random numbers a row,
    where Gumbel-argmax takes one for each token of the vocabulary, and only short running sums,
    whose rounding is small. What has no probability is never drawn.
    """
    B, V = logits_BxV.shape
    top_Bx1 = jnp.max(logits_BxV, axis=-1, keepdims=True)
    weight_BxV = jnp.exp(logits_BxV - top_Bx1)
    weight_BxNxW = jnp.pad(weight_BxV, ((0, 0), (0, -V % BLOCK))).reshape(B, -1, BLOCK)
    block_BxN = jnp.sum(weight_BxNxW, axis=-1)
    block_B = _invert(block_BxN, uniform_2xB[0])
    of_block_BxW = jnp.take_along_axis(weight_BxNxW, block_B[:, None, None], axis=1)[:, 0]
    token_B = block_B * BLOCK + _invert(of_block_BxW, uniform_2xB[1])
    return token_B, top_Bx1[:, 0] + jnp.log(jnp.sum(block_BxN, axis=-1))


def _invert(weight_BxN: jax.Array, uniform_B: jax.Array) -> jax.Array:
    """The index at which the running sum of each row reaches `uniform` of its whole sum.

    Sums are rounded each in its own way, as they are added up in a tree: they can rise where
    nothing is added, and where something is, none may reach as far. So entries of weight 0 don't
    count, and all that reach far enough tie for the largest, of which the first is taken.
    """
    running_BxN = jnp.cumsum(weight_BxN, axis=-1)
    reached_BxN = jnp.minimum(running_BxN, uniform_B[:, None] * running_BxN[:, -1:])
    return jnp.argmax(jnp.where(weight_BxN > 0, reached_BxN, -1), axis=-1)


def truncate(logits_BxV: jax.Array, top_k: int, top_p: float) -> jax.Array:
    """Sets to -inf what top-k, then top-p over what that leaves, cut away. Ties at the edge stay.

    The edge is found by bisection over the float's bits: exact after 32 counts, and no sort of the
    vocabulary.
    """
    if 0 < top_k < logits_BxV.shape[-1]:
        kept_BxV = _top(logits_BxV, lambda mask: jnp.sum(mask, axis=-1) >= top_k)
        logits_BxV = jnp.where(kept_BxV, logits_BxV, -jnp.inf)
    if top_p < 1:
        probability_BxV = jax.nn.softmax(logits_BxV, axis=-1)
        kept_BxV = _top(
            logits_BxV,
            lambda mask: jnp.sum(jnp.where(mask, probability_BxV, 0), axis=-1) >= top_p,
        )
        logits_BxV = jnp.where(kept_BxV, logits_BxV, -jnp.inf)
    return logits_BxV


def _top(logits_BxV: jax.Array, enough: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """The mask of the largest entries of each row: the fewest for which `enough` holds."""
    bits = jax.lax.bitcast_convert_type(logits_BxV, jnp.int32)
    # Negative floats order backwards by their bits; flipped, integers order as the floats do.
    ordered_BxV = jnp.where(bits < 0, bits ^ jnp.int32(0x7FFFFFFF), bits)

    def halve(_: int, edges: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low_B, high_B = edges  # enough at low, not at high
        middle_B = (low_B & high_B) + ((low_B ^ high_B) >> 1)  # without overflow
        holds_B = enough(ordered_BxV >= middle_B[:, None])
        return jnp.where(holds_B, middle_B, low_B), jnp.where(holds_B, high_B, middle_B)

    low_B = jnp.min(ordered_BxV, axis=-1)
    high_B = jnp.max(ordered_BxV, axis=-1) + 1
    low_B, _ = jax.lax.fori_loop(0, 32, halve, (low_B, high_B))
    return ordered_BxV >= low_B[:, None]
