"""Log-probabilities by slices of the vocabulary against the softmax over all of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxswarm.learner.vocabulary import token_logprobs
from jaxswarm.model.sharding import make_mesh, sharding

RNG = np.random.default_rng(0)
HIDDEN_QxGxCxD = RNG.normal(size=(2, 3, 5, 8)).astype(np.float32)
HEAD_VxD = RNG.normal(size=(60, 8)).astype(np.float32)
TOKEN_QxGxC = RNG.integers(0, 60, (2, 3, 5)).astype(np.int32)
WEIGHT_QxGxC = RNG.normal(size=(2, 3, 5)).astype(np.float32)


def plain(hidden, head_VxD, token_QxGxC, temperature):
    logprob = jax.nn.log_softmax(hidden @ head_VxD.T / temperature)
    chosen = jnp.take_along_axis(logprob, token_QxGxC[..., None], axis=-1)[..., 0]
    return chosen, -jnp.sum(jnp.exp(logprob) * logprob, axis=-1)


def assert_those_of_the_whole_softmax(head_VxD, token_QxGxC, vocab_slice, temperature):
    def sliced(hidden, head_VxD):
        return token_logprobs(
            hidden,
            head_VxD,
            token_QxGxC,
            vocab_slice=vocab_slice,
            temperature=temperature,
        )

    def whole(hidden, head_VxD):
        return plain(hidden, head_VxD, token_QxGxC, temperature)

    for got, expected in zip(
        jax.jit(sliced)(HIDDEN_QxGxCxD, head_VxD), whole(HIDDEN_QxGxCxD, head_VxD), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    gradients = [
        jax.jit(
            jax.grad(
                lambda hidden, head, of=of: jnp.sum(WEIGHT_QxGxC * of(hidden, head)[0]), (0, 1)
            )
        )(HIDDEN_QxGxCxD, head_VxD)
        for of in (sliced, whole)
    ]
    for got, expected in zip(*gradients, strict=True):
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("vocab_slice", "temperature"), [(60, 1.0), (20, 0.7), (7, 1.0), (1, 2.0)])
def test_values_and_gradients_are_those_of_the_whole_softmax(vocab_slice, temperature):
    assert_those_of_the_whole_softmax(HEAD_VxD, TOKEN_QxGxC, vocab_slice, temperature)


@pytest.mark.parametrize("devices", [1, 2])
def test_a_vocabulary_that_cuts_into_no_equal_slices_gives_the_same(devices):
    """61 tokens a device, a prime number, as 4 slices of 16: the last one has 13."""
    rng = np.random.default_rng(devices)
    head_VxD = rng.normal(size=(61 * devices, 8)).astype(np.float32)
    token_QxGxC = rng.integers(0, 61 * devices, (2, 3, 5)).astype(np.int32)
    # The last token of each device's part, and the one that follows it.
    token_QxGxC[0, 0, :3] = 60, 61 % (61 * devices), 61 * devices - 1
    mesh = make_mesh(data=1, fsdp=1, tensor=devices, devices=jax.devices()[:devices])
    placed = jax.device_put(head_VxD, sharding(head_VxD.shape, ("vocab", "embed"), mesh))
    with jax.set_mesh(mesh):
        assert_those_of_the_whole_softmax(placed, token_QxGxC, 20, 0.7)


@pytest.mark.parametrize(
    ("vocabulary", "slices", "is_filled"),
    [(151_936, 16, False), (151_667, 10, True), (151_665, 15, False)],
)
def test_a_vocabulary_of_any_size_is_cut_into_few_slices_and_the_usual_one_is_not_copied(
    vocabulary, slices, is_filled
):
    program = jax.make_jaxpr(
        lambda hidden, head: token_logprobs(
            hidden, head, TOKEN_QxGxC, vocab_slice=16384, temperature=1.0
        )
    )(HIDDEN_QxGxCxD, jax.ShapeDtypeStruct((vocabulary, 8), jnp.float32))
    assert f" length={slices}\n" in str(program)
    assert (" pad[" in str(program)) == is_filled


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
