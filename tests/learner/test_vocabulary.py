"""Log-probabilities by slices of the vocabulary against the softmax over all of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxswarm.learner.vocabulary import token_logprobs

RNG = np.random.default_rng(0)
HIDDEN_QxGxCxD = RNG.normal(size=(2, 3, 5, 8)).astype(np.float32)
HEAD_VxD = RNG.normal(size=(60, 8)).astype(np.float32)
TOKEN_QxGxC = RNG.integers(0, 60, (2, 3, 5)).astype(np.int32)
WEIGHT_QxGxC = RNG.normal(size=(2, 3, 5)).astype(np.float32)


def plain(hidden, head_VxD, temperature):
    logprob = jax.nn.log_softmax(hidden @ head_VxD.T / temperature)
    chosen = jnp.take_along_axis(logprob, TOKEN_QxGxC[..., None], axis=-1)[..., 0]
    return chosen, -jnp.sum(jnp.exp(logprob) * logprob, axis=-1)


@pytest.mark.parametrize(("vocab_slice", "temperature"), [(60, 1.0), (20, 0.7), (7, 1.0), (1, 2.0)])
def test_values_and_gradients_are_those_of_the_whole_softmax(vocab_slice, temperature):
    def sliced(hidden, head_VxD):
        return token_logprobs(
            hidden,
            head_VxD,
            TOKEN_QxGxC,
            vocab_slice=vocab_slice,
            temperature=temperature,
        )

    for got, expected in zip(
        sliced(HIDDEN_QxGxCxD, HEAD_VxD), plain(HIDDEN_QxGxCxD, HEAD_VxD, temperature), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    gradients = [
        jax.grad(lambda hidden, head, of=of: jnp.sum(WEIGHT_QxGxC * of(hidden, head)[0]), (0, 1))(
            HIDDEN_QxGxCxD, HEAD_VxD
        )
        for of in (sliced, lambda hidden, head: plain(hidden, head, temperature))
    ]
    for got, expected in zip(*gradients, strict=True):
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_the_entropy_has_no_gradient():
    def entropy(hidden):
        return jnp.sum(
            token_logprobs(hidden, HEAD_VxD, TOKEN_QxGxC, vocab_slice=20, temperature=1.0)[1]
        )

    assert not jax.grad(entropy)(HIDDEN_QxGxCxD).any()


def test_large_logits_stay_finite():
    logprob, entropy = token_logprobs(
        HIDDEN_QxGxCxD * 1e4, HEAD_VxD, TOKEN_QxGxC, vocab_slice=20, temperature=1.0
    )
    assert np.isfinite(logprob).all()
    assert np.isfinite(entropy).all()
