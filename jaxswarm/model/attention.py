"""Grouped-query attention over a shared prefix and a row's own tokens. Shapes: see `qwen2`."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxswarm.model.config import ModelConfig
from jaxswarm.model.linear import Joined, Linear
from jaxswarm.model.remat import rematerialised


class KeyValues(NamedTuple):
    """Keys and values of one layer: [Q, K, P, H] for a prefix, [Q, K, G, S, H] for rows.

    Heads stand before rows, as attention multiplies them: else XLA would turn the cache over in
    each step.
    """

    keys: jax.Array
    values: jax.Array


class Reach(NamedTuple):
    """Where a layer's queries stand, and what they attend to besides the keys of their own pass."""

    position_QxGxT: jax.Array
    prefix: KeyValues | None
    prefix_mask_QxP: jax.Array | None
    cache: KeyValues | None
    slot: jax.Array | int
    """The first slot of the cache that this pass writes; 0 without a cache."""
    own_mask: jax.Array
    """See `attend`."""


def rotate(x_QxGxTxNxH: jax.Array, position_QxGxT: jax.Array, theta: float) -> jax.Array:
    """Rotary position embedding (arXiv 2104.09864), halves rotated against each other."""
    half = x_QxGxTxNxH.shape[-1] // 2
    # Angles reach 10^4 and more: in bfloat16 neighbouring positions would coincide.
    frequency = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = position_QxGxT[..., None, None].astype(jnp.float32) * frequency
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    first, second = jnp.split(x_QxGxTxNxH.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x_QxGxTxNxH.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _product(equation: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """An einsum of two in float32, whatever they are in.

    Its gradient arrives in float32 and is cast to their dtype: JAX would leave it and widen the
    operands, and all matmuls of the backward pass would be float32's.
    """
    return jnp.einsum(equation, a, b, preferred_element_type=jnp.float32)


def _product_forward(
    equation: str, a: jax.Array, b: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _product(equation, a, b), (a, b)


def _product_backward(
    equation: str, operands: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    _, pull = jax.vjp(partial(jnp.einsum, equation), *operands)
    return pull(gradient.astype(operands[0].dtype))


_product.defvjp(_product_forward, _product_backward)


def attend(
    query_QxGxTxNxH: jax.Array,
    own: KeyValues,
    own_mask: jax.Array,
    prefix: KeyValues | None,
    prefix_mask_QxP: jax.Array | None,
) -> jax.Array:
    """Softmax attention over the prefix of the question and the row's own keys.

    The two parts are scored apart, so that all G rows meet the prefix in one matmul per key-value
    head and it is never copied per row, and joined by their common maximum and sum.

    `own_mask` is [Q, G, T, S], or [1, 1, T, S] where it is the same for all rows.

    Returns:
      [Q, G, T, N, H]
    """
    Q, G, T, N, H = query_QxGxTxNxH.shape
    K = own.keys.shape[1]
    query = (query_QxGxTxNxH * H**-0.5).reshape(Q, G, T, K, N // K, H)

    def scores(equation: str, keys: jax.Array, mask: jax.Array) -> jax.Array:
        raw: jax.Array = _product(equation, query, keys)
        return jnp.where(mask, raw, jnp.finfo(jnp.float32).min)

    own_scores = scores("qgtkrh,qkgsh->qkgtrs", own.keys, own_mask[:, None, :, :, None])
    top = jnp.max(own_scores, axis=-1, keepdims=True)
    prefix_scores = None
    if prefix is not None:
        assert prefix_mask_QxP is not None
        mask = prefix_mask_QxP[:, None, None, None, None, :]
        prefix_scores = scores("qgtkrh,qkph->qkgtrp", prefix.keys, mask)
        top = jnp.maximum(top, jnp.max(prefix_scores, axis=-1, keepdims=True))
    top = jax.lax.stop_gradient(top)

    weight = jnp.exp(own_scores - top)
    total = jnp.sum(weight, axis=-1)
    dtype = own.values.dtype
    mixed: jax.Array = _product("qkgtrs,qkgsh->qkgtrh", weight.astype(dtype), own.values)
    if prefix is not None:
        assert prefix_scores is not None
        weight = jnp.exp(prefix_scores - top)
        total += jnp.sum(weight, axis=-1)
        of_prefix: jax.Array = _product("qkgtrp,qkph->qkgtrh", weight.astype(dtype), prefix.values)
        mixed += of_prefix
    mixed = (mixed / total[..., None]).astype(query_QxGxTxNxH.dtype)
    return mixed.transpose(0, 2, 3, 1, 4, 5).reshape(Q, G, T, N, H)


class Attention(nnx.Module):
    """Grouped-query attention with biases on query, key and value."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        D, N, K, H = config.hidden_size, config.num_heads, config.num_kv_heads, config.head_dim
        self.query = Linear(("heads", "embed"), (N * H, D), bias=True, rngs=rngs)
        self.key = Linear(("kv_heads", "embed"), (K * H, D), bias=True, rngs=rngs)
        self.value = Linear(("kv_heads", "embed"), (K * H, D), bias=True, rngs=rngs)
        self.out = Linear(("embed", "heads"), (D, N * H), bias=False, rngs=rngs)
        self.joined: Joined | None = None
        self.config = config

    def join(self) -> None:
        """Makes query, key and value one matmul. See `Joined`."""
        self.joined = nnx.data(Joined(self.query, self.key, self.value))

    def __call__(
        self, x_QxGxTxD: jax.Array, reach: Reach, *, remat: bool
    ) -> tuple[jax.Array, KeyValues]:
        """`remat`: recompute the weights of attention in the backward pass.

        They grow with the square of the length; to compute them is little.
        """
        theta, head = self.config.rope_theta, (*x_QxGxTxD.shape[:3], -1, self.config.head_dim)
        if self.joined is None:
            parts = self.query(x_QxGxTxD), self.key(x_QxGxTxD), self.value(x_QxGxTxD)
        else:
            parts = self.joined(x_QxGxTxD)
        query, key, value = (part.reshape(head) for part in parts)
        query = rotate(query, reach.position_QxGxT, theta)
        key = rotate(key, reach.position_QxGxT, theta)
        own = KeyValues(key.transpose(0, 3, 1, 2, 4), value.transpose(0, 3, 1, 2, 4))
        if reach.cache is not None:
            cache, write = reach.cache, jax.lax.dynamic_update_slice_in_dim
            own = KeyValues(
                write(cache.keys, own.keys.astype(cache.keys.dtype), reach.slot, axis=3),
                write(cache.values, own.values.astype(cache.values.dtype), reach.slot, axis=3),
            )
        run = partial(rematerialised, attend) if remat else attend
        mixed: jax.Array = run(query, own, reach.own_mask, reach.prefix, reach.prefix_mask_QxP)
        return self.out(mixed.reshape(*x_QxGxTxD.shape[:3], -1)), own
