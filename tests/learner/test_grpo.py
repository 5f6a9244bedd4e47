"""GRPO's equations against numbers worked by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxswarm.learner import grpo


def test_advantages_without_scale_are_distances_from_the_group_mean():
    got = grpo.advantages(jnp.array([[1.0, 0.0, 0.0, 1.0], [2.0, 0.0, 0.0, 0.0]]), "none")
    np.testing.assert_allclose(got, [[0.5, -0.5, -0.5, 0.5], [1.5, -0.5, -0.5, -0.5]])


def test_group_scale_divides_by_the_sample_deviation_of_each_group():
    # (1, 0, 0, 1): squares of 0.5 add up to 1, over n - 1 = 3.
    got = grpo.advantages(jnp.array([[1.0, 0.0, 0.0, 1.0]]), "group")
    np.testing.assert_allclose(got[0, 0], 0.5 / (math.sqrt(1 / 3) + 1e-4), rtol=1e-6)


def test_batch_scale_divides_by_the_sample_deviation_of_all_rewards():
    # (1, 0, 3, 3): mean 1.75, squares add up to 6.75, over 3: deviation 1.5.
    got = grpo.advantages(jnp.array([[1.0, 0.0], [3.0, 3.0]]), "batch")
    np.testing.assert_allclose(got, [[0.5 / 1.5001, -0.5 / 1.5001], [0, 0]], rtol=1e-6)


def test_batch_scale_leaves_out_rows_that_only_fill_up():
    # (3, 0, 0, 1): mean 1, squares add up to 6, over 3: deviation sqrt 2.
    reward = jnp.array([[3.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    got = grpo.advantages(reward, "batch", jnp.array([[True] * 2, [True] * 2, [False] * 2]))
    np.testing.assert_allclose(got[0], np.array([1.5, -1.5]) / (math.sqrt(2) + 1e-4), rtol=1e-6)


@pytest.mark.parametrize("scale", grpo.ADVANTAGE_SCALES)
def test_a_group_of_equal_rewards_has_advantage_exactly_zero(scale):
    # Three times 0.7 has a mean that float32 rounds away from 0.7.
    reward = jnp.array([[0.7, 0.7, 0.7], [1.0, 0.0, 0.5]])
    assert np.all(np.asarray(grpo.advantages(reward, scale))[0] == 0)
    assert grpo.is_uniform(reward).tolist() == [True, False]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        # Two tokens in all: one completion of 1, one of 3, one of 2, and a row that fills up.
        ("grpo", [[[1 / 3, 0, 0, 0], [1 / 9, 1 / 9, 1 / 9, 0]], [[1 / 6, 1 / 6, 0, 0], [0] * 4]]),
        ("dr_grpo", [[[1 / 24, 0, 0, 0], [1 / 24] * 3 + [0]], [[1 / 24] * 2 + [0, 0], [0] * 4]]),
        ("dapo", [[[1 / 6, 0, 0, 0], [1 / 6] * 3 + [0]], [[1 / 6] * 2 + [0, 0], [0] * 4]]),
    ],
)
def test_token_weights_of_three_completions_with_limit_8(loss, expected):
    got = grpo.token_weights(jnp.array([[1, 3], [2, 0]]), width=4, limit=8, loss=loss)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("gap", "advantage", "loss", "clipped"),
    [
        (0.0, 1.0, -1.0, 0),
        (0.5, 1.0, -1.28, 1),  # ratio 1.6487 is cut to 1.28
        (0.5, -1.0, math.exp(0.5), 0),  # the pessimistic side is never cut
        (-0.5, 1.0, -math.exp(-0.5), 0),
        (-0.5, -1.0, 0.8, 1),  # ratio 0.6065 is raised to 0.8
    ],
)
def test_the_surrogate_is_clipped_on_the_side_that_would_gain(gap, advantage, loss, clipped):
    got = grpo.token_loss(
        jnp.array([[[-1.0 + gap]]]),
        jnp.array([[[-1.0]]]),
        None,
        jnp.array([[advantage]]),
        jnp.array([[False]]),
        eps_low=0.2,
        eps_high=0.28,
        beta=0.0,
    )
    np.testing.assert_allclose(got.loss, [[[loss]]], rtol=1e-6)
    assert got.clipped.tolist() == [[[clipped]]]
    assert got.kl.tolist() == [[[0.0]]]


def test_the_kl_to_the_reference_is_the_k3_estimator_times_beta():
    # The reference finds the token twice as likely: 2 - log 2 - 1.
    got = grpo.token_loss(
        jnp.array([[[-1.0]]]),
        jnp.array([[[-1.0]]]),
        jnp.array([[[-1.0 + math.log(2)]]]),
        jnp.array([[0.0]]),
        jnp.array([[False]]),
        eps_low=0.2,
        eps_high=0.2,
        beta=0.1,
    )
    np.testing.assert_allclose(got.kl, [[[1 - math.log(2)]]], rtol=1e-6)
    np.testing.assert_allclose(got.loss, [[[0.1 * (1 - math.log(2))]]], rtol=1e-6)


def test_a_token_that_another_model_drew_has_ratio_1_and_its_gradient_is_the_advantage():
    def loss(logprob):
        return grpo.token_loss(
            logprob,
            jnp.array([[[-1.0]]]),
            None,
            jnp.array([[2.0]]),
            jnp.array([[True]]),
            eps_low=0.2,
            eps_high=0.2,
            beta=0.0,
        ).loss[0, 0, 0]

    value, gradient = jax.value_and_grad(loss)(jnp.array([[[-7.0]]]))
    assert (value, gradient[0, 0, 0]) == (-2.0, -2.0)


def test_a_token_that_another_model_drew_has_no_kl_however_unlikely_it_is():
    def loss(logprob):
        return grpo.token_loss(
            logprob,
            jnp.array([[[-1.0]]]),
            jnp.array([[[-1.0]]]),
            jnp.array([[2.0]]),
            jnp.array([[True]]),
            eps_low=0.2,
            eps_high=0.2,
            beta=0.1,
        ).loss[0, 0, 0]

    value, gradient = jax.value_and_grad(loss)(jnp.array([[[-200.0]]]))
    assert (value, gradient[0, 0, 0]) == (-2.0, -2.0)


def test_of_other_models_completions_those_above_the_mean_teach():
    external = jnp.array([[False, True, True, True]])
    taught = grpo.teaches(external, jnp.array([[-1.0, 0.5, 0.0, -0.5]]))
    assert taught.tolist() == [[True, True, False, False]]
