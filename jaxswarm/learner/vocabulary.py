"""Log-probabilities of given tokens from hidden states, a slice of the vocabulary at a time.

Logits for a step's tokens are its largest array by far: 1,024 tokens of Qwen2.5's vocabulary take
622 MB. Here they exist for a slice of the vocabulary and are built again in the backward pass. A
slice of the vocabulary, not of the tokens, because each slice then owns its part of the head's
gradient: it is written once, where slices of tokens would each add to all of it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxswarm.model.sharding import ways_along


class _Head(NamedTuple):
    """How a head [V, D] is cut."""

    shards: int
    """Devices that the vocabulary lies on: each cuts its own part, and no slice leaves one."""
    rows: int
    """Tokens of a device's part."""
    slices: int
    temperature: float

    @property
    def width(self) -> int:
        """Rows of a slice; the last slice of a part may have fewer of its own."""
        return -(-self.rows // self.slices)

    @property
    def spare(self) -> int:
        """Rows that fill up the last slice."""
        return self.slices * self.width - self.rows


class _Statistics(NamedTuple):
    """Of each position's tempered logits, over the slices seen so far; float32."""

    top: jax.Array
    total: jax.Array
    """Sum of exp(logit - top)."""
    weighted: jax.Array
    """Sum of exp(logit - top) * logit."""
    chosen: jax.Array
    """The given token's logit."""


def token_logprobs(
    hidden_QxGxCxD: jax.Array,
    head_VxD: jax.Array,
    token_QxGxC: jax.Array,
    *,
    vocab_slice: int,
    temperature: float,
) -> tuple[jax.Array, jax.Array]:
    """The log-probability of each token, and the entropy of the distribution it comes from.

    Args:
      hidden_QxGxCxD: what the head is applied to, in the dtype of the matmuls.
      head_VxD: the same; where it is the embedding, that.
      token_QxGxC: int32.
      vocab_slice: about how many of the vocabulary's logits are in memory for each position.
      temperature: divides the logits.

    Returns:
      logprob_QxGxC and entropy_QxGxC, float32, the latter without gradient.
    """
    shards = ways_along("vocab", len(head_VxD))
    rows = len(head_VxD) // shards
    layout = _Head(shards, rows, _slices(rows, vocab_slice), temperature)
    if layout.spare:
        head_VxD = _filled(layout, head_VxD)
    # One axis T of all tokens: XLA would copy the operands of a matmul that contracts several.
    hidden_TxD = hidden_QxGxCxD.reshape(-1, head_VxD.shape[1])
    found = _token_logprobs(layout, hidden_TxD, head_VxD, token_QxGxC.reshape(-1))
    logprob, entropy = (values_T.reshape(token_QxGxC.shape) for values_T in found)
    return logprob, jax.lax.stop_gradient(entropy)


def _slices(rows: int, at_most: int) -> int:
    """The fewest equal slices of no more than that; where those are many, the fewest.

    Equal ones need no copy of the head, but a prime number of rows has none but slices of one row.
    """
    fewest = -(-rows // at_most)
    return next((count for count in range(fewest, 2 * fewest + 1) if rows % count == 0), fewest)


def _filled(layout: _Head, head: jax.Array) -> jax.Array:
    """The head with rows of zeros behind each device's part, for whole slices."""
    of_parts = head.reshape(layout.shards, layout.rows, -1)
    filled = jnp.pad(of_parts, ((0, 0), (0, layout.spare), (0, 0)))
    return filled.reshape(-1, head.shape[1])


def _cut(layout: _Head, head: jax.Array) -> jax.Array:
    """The head as [shards, slices, width, D]."""
    return head.reshape(layout.shards, layout.slices, -1, head.shape[1])


def _logits(
    layout: _Head, hidden: jax.Array, head: jax.Array, index: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Slice `index` of the head [W, D], its tempered logits [T, W], its token ids [W]."""
    piece = jax.lax.dynamic_index_in_dim(_cut(layout, head), index, 1, keepdims=False)
    shards, width, D = piece.shape
    row = index * width + jnp.arange(width)
    id_W = (jnp.arange(shards)[:, None] * layout.rows + row).reshape(-1)
    piece_WxD = piece.reshape(-1, D)
    logits = jnp.einsum("td,wd->tw", hidden, piece_WxD, preferred_element_type=jnp.float32)
    logits /= layout.temperature
    if layout.spare:
        is_token_W = jnp.tile(row < layout.rows, shards)
        # The least number, not -inf: times a weight of 0 it must be 0.
        logits = jnp.where(is_token_W, logits, jnp.finfo(logits.dtype).min)
        id_W = jnp.where(is_token_W, id_W, -1)
    return piece_WxD, logits, id_W


def _primal(
    layout: _Head, hidden: jax.Array, head: jax.Array, token: jax.Array
) -> tuple[jax.Array, jax.Array]:
    return _forward(layout, hidden, head, token)[0]


def _forward(
    layout: _Head, hidden: jax.Array, head: jax.Array, token: jax.Array
) -> tuple[Any, Any]:
    def see(seen: _Statistics, index: jax.Array) -> tuple[_Statistics, None]:
        _, logits, ids = _logits(layout, hidden, head, index)
        top = jnp.maximum(seen.top, jnp.max(logits, axis=-1))
        weight = jnp.exp(logits - top[:, None])
        before = jnp.exp(seen.top - top)
        chosen = jnp.where(token[:, None] == ids, logits, 0)
        return _Statistics(
            top,
            seen.total * before + jnp.sum(weight, axis=-1),
            seen.weighted * before + jnp.sum(weight * logits, axis=-1),
            seen.chosen + jnp.sum(chosen, axis=-1),
        ), None

    zero = jnp.zeros(token.shape, jnp.float32)
    start = _Statistics(jnp.full_like(zero, -jnp.inf), zero, zero, zero)
    seen, _ = jax.lax.scan(see, start, jnp.arange(layout.slices))
    log_total = seen.top + jnp.log(seen.total)
    entropy = log_total - seen.weighted / seen.total
    return (seen.chosen - log_total, entropy), (hidden, head, token, log_total)


def _backward(layout: _Head, kept: Any, gradients: tuple[jax.Array, jax.Array]) -> Any:
    hidden, head, token, log_total = kept
    of_logprob, _ = gradients
    scale = (of_logprob / layout.temperature)[:, None]

    def add(so_far: tuple[jax.Array, jax.Array], index: jax.Array) -> tuple[Any, None]:
        of_hidden, of_head = so_far
        piece, logits, ids = _logits(layout, hidden, head, index)
        probability = jnp.exp(logits - log_total[:, None])
        of_logits = scale * ((token[:, None] == ids) - probability)
        # In the dtype of the other operand: a matmul of mixed types runs in the wider one.
        of_logits = of_logits.astype(hidden.dtype)
        of_hidden += jnp.einsum("tw,wd->td", of_logits, piece, preferred_element_type=jnp.float32)
        of_piece = jnp.einsum("tw,td->wd", of_logits, hidden).astype(of_head.dtype)
        of_piece = of_piece.reshape(layout.shards, -1, of_piece.shape[1])
        of_head = jax.lax.dynamic_update_index_in_dim(of_head, of_piece, index, 1)
        return (of_hidden, of_head), None

    zeros = jnp.zeros(hidden.shape, jnp.float32), jnp.zeros_like(_cut(layout, head))
    (of_hidden, of_head), _ = jax.lax.scan(add, zeros, jnp.arange(layout.slices))
    return of_hidden.astype(hidden.dtype), of_head.reshape(head.shape), None


_token_logprobs = jax.custom_vjp(_primal, nondiff_argnums=(0,))
_token_logprobs.defvjp(_forward, _backward)
