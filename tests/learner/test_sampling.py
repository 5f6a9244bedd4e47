"""The next token's distribution, against NumPy with a plain sort."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxswarm.errors import InputError
from jaxswarm.learner.sampling import GREEDY, Sampling, _invert, sample, truncate

LOGITS = np.random.default_rng(0).normal(size=(5, 300)).astype(np.float32) * 3


def uniform(seed: int, rows: int) -> jax.Array:
    return jax.random.uniform(jax.random.key(seed), (2, rows))


def sorted_top_k(logits_V: np.ndarray, k: int) -> set[int]:
    return set(np.argsort(-logits_V)[:k].tolist())


def sorted_top_p(logits_V: np.ndarray, p: float) -> set[int]:
    order = np.argsort(-logits_V)
    probability = np.exp(logits_V[order] - logits_V.max())
    probability /= probability.sum()
    count = int(np.searchsorted(np.cumsum(probability), p)) + 1
    return set(order[:count].tolist())


def kept(truncated_V: np.ndarray) -> set[int]:
    return set(np.flatnonzero(np.isfinite(truncated_V)).tolist())


@pytest.mark.parametrize("k", [1, 2, 7, 50, 299])
def test_top_k_keeps_what_a_sort_keeps(k):
    for row, logits_V in zip(truncate(LOGITS, k, 1.0), LOGITS, strict=True):
        assert kept(row) == sorted_top_k(logits_V, k)


@pytest.mark.parametrize("p", [1e-6, 0.1, 0.5, 0.9, 0.999])
def test_top_p_keeps_what_a_sort_keeps(p):
    for row, logits_V in zip(truncate(LOGITS, 0, p), LOGITS, strict=True):
        assert kept(row) == sorted_top_p(logits_V, p)


def test_top_p_is_taken_of_what_top_k_left():
    only = np.log(np.array([[0.4, 0.3, 0.2, 0.1]], np.float32))
    # Of the first three, renormalised to 0.44, 0.33, 0.22, two reach 0.7; of all four it takes two
    # as well, but 0.75 takes two of three and three of four.
    assert kept(truncate(only, 3, 0.75)[0]) == {0, 1}
    assert kept(truncate(only, 0, 0.75)[0]) == {0, 1, 2}


def test_ties_at_the_edge_all_stay():
    assert kept(truncate(jnp.array([[1.0, 2.0, 1.0, 0.0, -3.0]]), 2, 1.0)[0]) == {0, 1, 2}


def test_greedy_takes_the_likeliest_token_with_its_plain_log_probability():
    token_B, logprob_B = sample(LOGITS, uniform(0, len(LOGITS)), GREEDY)
    np.testing.assert_array_equal(token_B, LOGITS.argmax(-1))
    expected = jax.nn.log_softmax(LOGITS)[np.arange(5), LOGITS.argmax(-1)]
    np.testing.assert_allclose(logprob_B, expected, atol=1e-5)


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(0.7), Sampling(1.0, 3), Sampling(1.0, 0, 0.6)]
)
def test_tokens_come_as_often_as_their_log_probability_says(sampling):
    logits_V = np.log(np.array([0.4, 0.3, 0.15, 0.1, 0.05], np.float32))
    draws = 20_000
    token_B, logprob_B = sample(np.tile(logits_V, (draws, 1)), uniform(1, draws), sampling)
    said = {int(t): float(p) for t, p in zip(token_B, logprob_B, strict=True)}
    np.testing.assert_allclose(sum(np.exp(list(said.values()))), 1, rtol=1e-5)
    for token, logprob in said.items():
        p = np.exp(logprob)
        # Five standard errors of a share.
        assert abs(np.mean(token_B == token) - p) < 5 * np.sqrt(p * (1 - p) / draws) + 1e-9


@pytest.mark.parametrize("vocabulary", [128, 300, 1024])
def test_blocks_of_the_vocabulary_are_drawn_as_often_as_their_tokens_say(vocabulary):
    logits_V = np.random.default_rng(2).normal(size=vocabulary).astype(np.float32)
    logits_V[::3] = -np.inf
    draws = 40_000
    token_B, logprob_B = sample(np.tile(logits_V, (draws, 1)), uniform(3, draws), Sampling())
    said_V = np.asarray(jax.nn.log_softmax(logits_V))
    expected_V = np.exp(said_V)
    found_V = np.bincount(token_B, minlength=vocabulary)
    assert found_V[::3].sum() == 0, "what can't come does not come"
    kept = expected_V > 0
    # Pearson's statistic has mean n - 1 and variance 2 (n - 1) here.
    statistic = np.sum((found_V - draws * expected_V)[kept] ** 2 / (draws * expected_V[kept]))
    freedom = kept.sum() - 1
    assert abs(statistic - freedom) < 5 * np.sqrt(2 * freedom)
    np.testing.assert_allclose(logprob_B, said_V[token_B], atol=1e-5)


def test_what_has_no_weight_is_not_drawn_though_sums_rise_there_by_rounding():
    rng = np.random.default_rng(0)
    weight_N = np.where(rng.random(1187) < 0.9, 0, rng.random(1187)).astype(np.float32)
    running_N = np.asarray(jax.jit(jnp.cumsum)(weight_N))
    highest_N = np.maximum.accumulate(running_N)
    assert (weight_N[1:] == 0)[np.diff(highest_N) > 0].any(), "this is no example of it"
    edge_N = running_N / running_N[-1]
    below_N, above_N = (np.nextafter(edge_N, np.float32(side)) for side in (0, 1))
    uniform_B = np.concatenate([edge_N, below_N, above_N, [0, 1]]).clip(0, 1).astype(np.float32)
    found_B = np.asarray(jax.jit(_invert)(np.tile(weight_N, (len(uniform_B), 1)), uniform_B))
    assert (weight_N[found_B] > 0).all()
    # Beside rounding it is what exact sums give: the same entry with weight, or the next one to it.
    exact_N = np.cumsum(weight_N, dtype=np.float64)
    kept = np.flatnonzero(weight_N)
    wanted_B = np.searchsorted(exact_N[kept], uniform_B * exact_N[-1])
    assert np.abs(np.searchsorted(kept, found_B) - wanted_B).max() <= 1


@pytest.mark.parametrize("values", [(-0.1, 0, 1.0), (1.0, -1, 1.0), (1.0, 0, 0.0), (1.0, 0, 1.1)])
def test_settings_that_make_no_sense_are_refused(values):
    with pytest.raises(InputError, match=r"generation\."):
        Sampling(*values)
