"""Linear layers give the same in both orders of operands, and side by side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxswarm.model.linear import FEW_ROWS, Joined, Linear, project


@pytest.mark.parametrize("rows", [1, FEW_ROWS // 2, FEW_ROWS, FEW_ROWS + 2])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_few_rows_and_many_are_projected_alike(rows, dtype):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(rows // 2 or 1, min(rows, 2), 24)), dtype)
    weight_OxI = jnp.asarray(rng.normal(size=(40, 24)), dtype)
    got = jax.jit(lambda x, w: project(x, w, jnp.float32))(x, weight_OxI)
    expected = np.asarray(x, np.float64) @ np.asarray(weight_OxI, np.float64).T
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_few_rows_read_the_weights_as_the_left_operand():
    def operands(rows: int) -> str:
        text = jax.jit(project).lower(jnp.ones((rows, 24)), jnp.ones((40, 24))).as_text()
        (product,) = (line for line in text.splitlines() if "dot_general" in line)
        return product.split(": (")[1]

    assert operands(FEW_ROWS).startswith("tensor<40x24xf32>")
    assert operands(FEW_ROWS + 1).startswith(f"tensor<{FEW_ROWS + 1}x24xf32>")


@pytest.mark.parametrize("bias", [True, False])
def test_joined_layers_give_what_each_gives_alone(bias):
    rngs, axes = nnx.Rngs(0), ("heads", "embed")
    layers = [Linear(axes, (size, 24), bias=bias, rngs=rngs) for size in (16, 4, 8)]
    for layer in layers:
        if layer.bias is not None:
            layer.bias[...] = jax.random.normal(rngs.params(), layer.bias.shape)
    x = jax.random.normal(rngs.params(), (2, 3, 24))
    for got, layer in zip(Joined(*layers)(x), layers, strict=True):
        np.testing.assert_allclose(got, layer(x), rtol=1e-5, atol=1e-6)
