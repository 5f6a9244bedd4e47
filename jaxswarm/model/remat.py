"""Recomputing a layer, or a part of it, in the backward pass: what it computed need not be kept."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def rematerialised(layer: Callable[..., Any], x: jax.Array, *others: Any) -> Any:
    """`layer(x, *others)`; the backward pass keeps these arguments and nothing else.

    In place of jax.checkpoint, which separates the second forward pass from the first by
    optimization barriers. XLA drops those on CPUs before it schedules: it then runs the second pass
    of all layers ahead of the backward pass, which costs the time and saves no memory. Here the
    second pass of a layer takes a zero from the layer's incoming gradient, and can't begin before
    that is there.
    """
    return layer(x, *others)


def _forward(layer: Callable[..., Any], *arguments: Any) -> tuple[Any, tuple[Any, ...]]:
    return layer(*arguments), arguments


def _backward(
    layer: Callable[..., Any], arguments: tuple[Any, ...], gradients: Any
) -> tuple[Any, ...]:
    x, *others = arguments
    zero = sum(0 * leaf[(0,) * leaf.ndim] for leaf in jax.tree.leaves(gradients))
    _, pull = jax.vjp(layer, x + zero, *others)
    return pull(gradients)


rematerialised.defvjp(_forward, _backward)
