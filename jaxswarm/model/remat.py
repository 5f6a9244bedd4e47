"""Recomputing a layer, or a part of it, in the backward pass: what it computed need not be kept."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def rematerialised(layer: Callable[..., Any], x: jax.Array, *others: Any) -> Any:
    """`layer(x, *others)`; the backward pass keeps these arguments and nothing else.

    In place of jax.checkpoint, which separates the second forward pass from the first by
    optimization barriers. XLA drops those on CPUs before it schedules: it then runs the second pass
    of all layers ahead of the backward pass, which costs the time and saves no memory. Here the
    second pass of a layer takes zeros from the layer's incoming gradients, and can't begin before
    those are there. `x` and what the layer gives begin with the axis of questions: of devices that
    share them, each takes its zeros from its own part.
    """
    return layer(x, *others)


def _forward(layer: Callable[..., Any], *arguments: Any) -> tuple[Any, tuple[Any, ...]]:
    return layer(*arguments), arguments


def _backward(
    layer: Callable[..., Any], arguments: tuple[Any, ...], gradients: Any
) -> tuple[Any, ...]:
    x, *others = arguments
    leaves = jax.tree.leaves(gradients)
    zero_Q = sum(0 * leaf[:, *(0,) * (leaf.ndim - 1)] for leaf in leaves)
    _, pull = jax.vjp(layer, x + jnp.reshape(zero_Q, (-1, *(1,) * (x.ndim - 1))), *others)
    return pull(gradients)


rematerialised.defvjp(_forward, _backward)
