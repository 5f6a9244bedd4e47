"""Linear layers, and the order of operands in which a matmul of few rows is fast."""

import math
from collections.abc import Callable
from functools import partial
from itertools import accumulate

import jax
import jax.numpy as jnp
from flax import nnx

FEW_ROWS = 128
"""Up to so many rows a matmul on a CPU is faster with the weights as its left operand."""


def project(
    x: jax.Array, weight_OxI: jax.Array, dtype: jax.typing.DTypeLike | None = None
) -> jax.Array:
    """x [..., I] times the weights' transpose: [..., O], in `dtype` or else in that of x."""
    rows_first, weights_first = (
        partial(order, dtype=x.dtype if dtype is None else dtype)
        for order in (_rows_first, _weights_first)
    )
    if math.prod(x.shape[:-1]) > FEW_ROWS:
        return rows_first(x, weight_OxI)
    return jax.lax.platform_dependent(x, weight_OxI, cpu=weights_first, default=rows_first)


def _rows_first(x: jax.Array, weight_OxI: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    # One axis of rows: XLA would copy the operands of a gradient that contracts several.
    x_BxI = x.reshape(-1, x.shape[-1])
    y_BxO = jnp.einsum("bi,oi->bo", x_BxI, weight_OxI, preferred_element_type=dtype)
    return y_BxO.reshape(*x.shape[:-1], -1)


def _weights_first(x: jax.Array, weight_OxI: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    """XLA's CPU library copies its right operand into panels and reads the left one as it lies."""
    x_IxB = x.reshape(-1, x.shape[-1]).T
    y_OxB = jnp.matmul(weight_OxI, x_IxB, preferred_element_type=dtype)
    # Without the barrier XLA turns this back into the other order.
    return jax.lax.optimization_barrier(y_OxB).T.reshape(*x.shape[:-1], -1)


class Linear(nnx.Module):
    """x @ weight.T (+ bias). The weights lie as [out, in], as Hugging Face's do."""

    def __init__(
        self, axes: tuple[str, str], shape: tuple[int, int], *, bias: bool, rngs: nnx.Rngs
    ):
        """`axes` and `shape`: of the weights, [out, in]."""
        init = nnx.initializers.normal(0.02)
        self.weight = nnx.Param(init(rngs.params(), shape, jnp.float32), axes=axes)
        self.bias = nnx.Param(jnp.zeros(shape[:1], jnp.float32), axes=axes[:1]) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = project(x, self.weight[...])
        return y if self.bias is None else in_float32(jnp.add, y, self.bias[...])


def in_float32(operation: Callable[..., jax.Array], x: jax.Array, of_all: jax.Array) -> jax.Array:
    """`operation(x, of_all)` in the dtype of x, where `of_all` is broadcast over all tokens.

    The result is the same as in that dtype. But the gradient of `of_all` is a sum over tokens, of
    which bfloat16 would lose most.
    """
    wide = operation(x.astype(jnp.float32), of_all.astype(jnp.float32))
    return wide.astype(x.dtype)


class Joined(nnx.Module):
    """Linear layers of one input as one matmul, for a loop of many passes over the same weights.

    Left apart they are joined by XLA for GPUs, which copies the weights for that in each pass where
    cuBLAS multiplies.
    """

    def __init__(self, *layers: Linear):
        """Copies the layers' weights as they are now; either all have a bias or none."""
        weights = [layer.weight[...] for layer in layers]
        biases = [layer.bias[...] for layer in layers if layer.bias is not None]
        assert len(biases) in (0, len(layers))
        self.weight = nnx.Variable(jnp.concatenate(weights))
        self.bias = nnx.Variable(jnp.concatenate(biases)) if biases else None
        self.ends = tuple(accumulate(len(weight) for weight in weights[:-1]))

    def __call__(self, x: jax.Array) -> list[jax.Array]:
        """What each layer gives."""
        y = project(x, self.weight[...])
        return jnp.split(y if self.bias is None else y + self.bias[...], self.ends, axis=-1)
