"""The optimizer against optax's own, and what its programs need of memory."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxswarm.learner.optimizer import OptimizerConfig, make_optimizer

CONFIG = OptimizerConfig(
    learning_rate=1e-2,
    schedule="constant",
    warmup_steps=0,
    total_steps=10,
    clip_norm=0.5,
    weight_decay=0.1,
    b1=0.9,
    b2=0.99,
)


@pytest.mark.parametrize("scale", [0.0, 1e-3, 10.0])
def test_the_clip_is_that_of_optax(scale):
    params = {"a": jnp.arange(6.0).reshape(2, 3), "b": jnp.ones(4)}
    grads = jax.tree.map(lambda array: scale * (array - 1), params)
    ours = make_optimizer(CONFIG)
    theirs = optax.chain(
        optax.clip_by_global_norm(0.5), optax.adamw(1e-2, b1=0.9, b2=0.99, weight_decay=0.1)
    )
    got, expected = (
        optimizer.update(grads, optimizer.init(params), params)[0] for optimizer in (ours, theirs)
    )
    for name, changes in expected.items():
        np.testing.assert_allclose(got[name], changes, rtol=1e-6)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_counts_as_zero(broken):
    params = {"a": jnp.arange(6.0).reshape(2, 3), "b": jnp.ones(4)}
    grads = jax.tree.map(lambda array: array - 1, params)
    poisoned = grads | {"b": grads["b"].at[1].set(broken)}
    optimizer = make_optimizer(CONFIG)
    _, state = optimizer.update(grads, optimizer.init(params), params)
    got, expected = (
        optimizer.update(these, state, params)
        for these in (poisoned, jax.tree.map(jnp.zeros_like, grads))
    )
    chex.assert_trees_all_equal(got, expected)


def test_an_update_needs_no_copy_of_the_gradients():
    params = {str(index): jnp.ones((256, 256)) for index in range(4)}
    optimizer = make_optimizer(CONFIG)

    def update(params, state, grads):
        changes, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, changes), state

    program = jax.jit(update, donate_argnums=(0, 1)).lower(params, optimizer.init(params), params)
    memory = program.compile().memory_analysis()
    assert memory.temp_size_in_bytes < params["0"].nbytes
