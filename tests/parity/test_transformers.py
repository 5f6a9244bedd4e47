"""Our forward pass against transformers', in float32, on tiny random models over a grid."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from jaxswarm.model import qwen2, weights
from jaxswarm.model.qwen2 import Prefix
from jaxswarm.model.sharding import make_mesh
from jaxswarm.model.sources import open_source

TOKEN_BxT = np.random.default_rng(0).integers(0, 320, (3, 40))
TOLERANCE = 1e-4
"""Of logits, absolute; theirs reach several units here."""


def load(directory):
    source = open_source(str(directory))
    mesh = make_mesh(data=1, fsdp=1, tensor=1, devices=jax.devices()[:1])
    graph, _ = qwen2.abstract(source.config)
    return nnx.merge(graph, weights.load(source, mesh, jnp.float32))


def their_logits(model, token_BxT):
    with torch.no_grad():
        return model(torch.from_numpy(np.asarray(token_BxT))).logits.numpy()


def our_logits(model, token_BxT):
    hidden, _ = jax.jit(lambda tokens: model(tokens[:, None]))(jnp.asarray(token_BxT))
    return np.asarray(model.logits(hidden)[:, 0])


@pytest.mark.parametrize(
    ("kv_heads", "tied"), list(itertools.product((4, 2, 1), (True, False))), ids=str
)
def test_logits_are_those_of_transformers(make_model, tmp_path, kv_heads, tied):
    model = make_model(num_key_value_heads=kv_heads, tie_word_embeddings=tied)
    model.save_pretrained(tmp_path)
    theirs = their_logits(model, TOKEN_BxT)
    assert np.abs(theirs).max() > 2, "too small to show a difference"
    np.testing.assert_allclose(our_logits(load(tmp_path), TOKEN_BxT), theirs, atol=TOLERANCE)


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
        {"rms_norm_eps": 1e-2},
        {"hidden_size": 48, "num_attention_heads": 6, "num_key_value_heads": 3},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_logits_follow_the_constants_of_the_config(make_model, tmp_path, changes):
    model = make_model(**changes)
    model.save_pretrained(tmp_path)
    theirs = their_logits(model, TOKEN_BxT)
    np.testing.assert_allclose(our_logits(load(tmp_path), TOKEN_BxT), theirs, atol=TOLERANCE)


def test_gradients_are_those_of_transformers(make_model, tmp_path):
    model = make_model()
    model.save_pretrained(tmp_path)
    tokens = torch.from_numpy(TOKEN_BxT)
    model(tokens, labels=tokens).loss.backward()
    theirs = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}

    graph, params = nnx.split(load(tmp_path))

    def loss(params):
        model = nnx.merge(graph, params)
        hidden, _ = model(jnp.asarray(TOKEN_BxT)[:, None])
        logprob = jax.nn.log_softmax(model.logits(hidden[:, 0, :-1]))
        return -jnp.mean(jnp.take_along_axis(logprob, TOKEN_BxT[:, 1:, None], axis=-1))

    ours = dict(weights.export(jax.jit(jax.grad(loss))(params)))
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(ours[name], gradient, atol=1e-4 * scale, err_msg=name)


def test_rows_behind_a_shared_prefix_equal_transformers_on_the_concatenated_text(
    make_model, tmp_path
):
    model = make_model()
    model.save_pretrained(tmp_path)
    ours = load(tmp_path)
    rng = np.random.default_rng(1)
    Q, G, P, C = 3, 2, 12, 9
    prompt_QxP, length_Q = rng.integers(0, 320, (Q, P)), np.array([12, 1, 7])
    row_QxGxC = rng.integers(0, 320, (Q, G, C))

    @jax.jit
    def forward(prompt_QxP, length_Q, row_QxGxC):
        prefix = Prefix(ours.prompt(prompt_QxP, length_Q).layers, length_Q)
        hidden, _ = ours(row_QxGxC, prefix=prefix)
        return ours.logits(hidden)

    logits_QxGxCxV = forward(prompt_QxP, length_Q, row_QxGxC)
    for q, g in np.ndindex(Q, G):
        whole = np.concatenate([prompt_QxP[q, : length_Q[q]], row_QxGxC[q, g]])
        theirs = their_logits(model, whole[None])[0, length_Q[q] :]
        np.testing.assert_allclose(logits_QxGxCxV[q, g], theirs, atol=TOLERANCE)
