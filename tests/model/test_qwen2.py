"""What the forward pass promises, whatever the weights. Parity with transformers: tests/parity."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxswarm.model import attention, qwen2
from jaxswarm.model.attention import KeyValues, attend, rotate
from jaxswarm.model.config import ModelConfig
from jaxswarm.model.qwen2 import Qwen2
from tests.model.tiny_config import CONFIG

TOKENS = np.random.default_rng(0).integers(0, 64, (2, 3, 7)).astype(np.int32)


def make(config: ModelConfig = CONFIG) -> Qwen2:
    """Weights large enough that every token matters to every later one."""
    graph, params = nnx.split(Qwen2(config, nnx.Rngs(0)))
    return nnx.merge(graph, jax.tree.map(lambda w: w * 8 if w.ndim > 1 else w, params))


@pytest.fixture(scope="module")
def model() -> Qwen2:
    return make()


@jax.jit
def hidden_of(model: Qwen2, tokens: jax.Array) -> jax.Array:
    return model(tokens)[0]


@jax.jit
def hidden_behind(
    model: Qwen2, prompt_QxP: jax.Array, length_Q: jax.Array, tokens: jax.Array
) -> jax.Array:
    return model(tokens, prefix=model.prompt(prompt_QxP, length_Q))[0]


@pytest.mark.parametrize("tied", [True, False])
def test_the_parameters_are_as_many_as_the_config_says(tied):
    config = dataclasses.replace(CONFIG, tie_embeddings=tied)
    _, params = qwen2.abstract(config)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == config.num_parameters


def test_an_abstract_model_of_any_size_takes_no_memory():
    huge = dataclasses.replace(CONFIG, vocab_size=10**6, hidden_size=2**15)
    before = len(jax.live_arrays())
    _, params = qwen2.abstract(huge)
    assert params["embedding"].get_value().shape == (10**6, 2**15)
    assert len(jax.live_arrays()) == before


def test_no_token_sees_a_later_one(model):
    """By gradients: the state at t depends on the embedding of each of 0..t, and on no other."""
    graph, params = nnx.split(model)
    tokens = jnp.arange(6)[None, None]  # six different rows of the embedding

    @jax.jit
    def gradient_of(params: nnx.State, t: int) -> jax.Array:
        def hidden_at_t(params: nnx.State) -> jax.Array:
            hidden, _ = nnx.merge(graph, params)(tokens)
            return jnp.sum(hidden[0, 0, t] ** 2 * jnp.arange(1, 33))

        return jax.grad(hidden_at_t)(params)["embedding"][...]

    for t in range(6):
        depends = np.abs(gradient_of(params, t)[:6]).max(axis=1) > 0
        np.testing.assert_array_equal(depends, np.arange(6) <= t)


def test_rows_do_not_see_each_other(model):
    hidden = hidden_of(model, TOKENS)
    changed = TOKENS.copy()
    changed[0, 1] = (changed[0, 1] + 1) % 64
    other = hidden_of(model, changed)
    same = np.ones((2, 3), bool)
    same[0, 1] = False
    np.testing.assert_array_equal(np.asarray(other)[same], np.asarray(hidden)[same])
    assert not np.allclose(other[0, 1], hidden[0, 1])


def test_what_stands_in_the_padding_changes_nothing_before_it(model):
    padded = np.concatenate([TOKENS, np.full_like(TOKENS, 9)], axis=-1)
    np.testing.assert_allclose(
        hidden_of(model, padded)[:, :, :7], hidden_of(model, TOKENS), atol=1e-5
    )


@pytest.mark.parametrize("length_Q", [[5, 5], [5, 1], [0, 3]], ids=str)
def test_rows_behind_a_prefix_equal_the_plain_pass_over_the_concatenated_text(model, length_Q):
    prompt_QxP = np.random.default_rng(1).integers(0, 64, (2, 5)).astype(np.int32)
    hidden = hidden_behind(model, prompt_QxP, np.array(length_Q), TOKENS)
    for q, g in np.ndindex(2, 3):
        whole = np.concatenate([prompt_QxP[q, : length_Q[q]], TOKENS[q, g]])
        plain = hidden_of(model, whole[None, None])
        np.testing.assert_allclose(hidden[q, g], plain[0, 0, length_Q[q] :], atol=1e-5)


def test_the_gradient_through_a_shared_prefix_is_that_of_the_concatenated_text(model):
    graph, params = nnx.split(model)
    prompt_QxP = np.random.default_rng(1).integers(0, 64, (2, 5)).astype(np.int32)

    @jax.jit
    @jax.grad
    def grouped(params: nnx.State) -> jax.Array:
        hidden = hidden_behind(nnx.merge(graph, params), prompt_QxP, np.array([5, 5]), TOKENS)
        return jnp.mean(hidden**3)

    @jax.jit
    @jax.grad
    def plain(params: nnx.State) -> jax.Array:
        prompts = jnp.broadcast_to(prompt_QxP[:, None], (2, 3, 5))
        whole = jnp.concatenate([prompts, TOKENS], axis=-1)
        return jnp.mean(hidden_of(nnx.merge(graph, params), whole)[:, :, 5:] ** 3)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        grouped(params),
        plain(params),
    )


def test_recomputing_the_layers_changes_no_gradient(model):
    graph, params = nnx.split(model)

    def loss(params: nnx.State, remat: bool) -> jax.Array:
        return jnp.mean(nnx.merge(graph, params)(TOKENS, remat=remat)[0] ** 2)

    gradients = [
        jax.jit(jax.grad(loss), static_argnums=1)(params, remat) for remat in (True, False)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), *gradients)


def bytes_of_gradient(config: ModelConfig, rows: int, length: int, *, remat: bool) -> int:
    """Temporary memory of the compiled gradient of a pass over so many rows."""
    graph, params = qwen2.abstract(config)

    def loss(params: nnx.State, token_QxGxT: jax.Array) -> jax.Array:
        return jnp.mean(nnx.merge(graph, params)(token_QxGxT, remat=remat)[0] ** 2)

    tokens = jax.ShapeDtypeStruct((1, rows, length), jnp.int32)
    return (
        jax.jit(jax.grad(loss)).lower(params, tokens).compile().memory_analysis().temp_size_in_bytes
    )


def test_recomputing_the_layers_keeps_the_activations_of_one_of_them():
    config = dataclasses.replace(CONFIG, num_layers=8)
    kept, recomputed = (bytes_of_gradient(config, 16, 64, remat=remat) for remat in (False, True))
    assert recomputed < kept / 2


@pytest.mark.parametrize(
    ("change", "length", "at_most"),
    [
        # Of a layer's values, floats a token: here most are those between gate, up and down ...
        ({"intermediate_size": 1024}, 64, 3 * 1024),
        # ... and here the weights of attention, one for each head and earlier token.
        ({}, 1024, CONFIG.num_heads * 1024 // 4),
    ],
)
def test_the_backward_pass_keeps_what_matmuls_gave_and_recomputes_the_rest(change, length, at_most):
    few, many = (
        bytes_of_gradient(
            dataclasses.replace(CONFIG, num_layers=layers, **change), 4, length, remat=False
        )
        for layers in (4, 8)
    )
    assert (many - few) / 4 < 4 * 4 * length * at_most


def test_a_bfloat16_model_computes_in_bfloat16_and_gives_float32_logits(model):
    graph, params = nnx.split(model)
    narrow = nnx.merge(graph, qwen2.cast(params, "bfloat16"))
    hidden, layers = jax.jit(lambda model: model(TOKENS))(narrow)
    for array in (hidden, layers[0].keys, layers[0].values):
        assert array.dtype == jnp.bfloat16
    logits = narrow.logits(hidden)
    assert logits.dtype == jnp.float32
    wide = model.logits(hidden_of(model, TOKENS))
    off = float(jnp.mean(jnp.abs(logits - wide)) / jnp.std(wide))
    assert 1e-4 < off < 0.05


def attention_of(dtype: str) -> tuple[Any, jax.Array]:
    """Operands of `attend`, its masks left out; and what its output is weighed by for a loss."""
    Q, G, T, N, K, H, P = 2, 3, 16, 4, 2, 8, 10
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> jax.Array:
        # All dtypes get the same numbers.
        return jnp.asarray(rng.normal(size=shape), "bfloat16").astype(dtype)

    own = KeyValues(normal(Q, K, G, T, H), normal(Q, K, G, T, H))
    prefix = KeyValues(normal(Q, K, P, H), normal(Q, K, P, H))
    return (normal(Q, G, T, N, H), own, prefix), normal(Q, G, T, N, H).astype(jnp.float32)


def attended(query: jax.Array, own: KeyValues, prefix: KeyValues) -> jax.Array:
    T, P = query.shape[2], prefix.keys.shape[2]
    own_mask = jnp.tril(jnp.ones((T, T), bool))[None, None]
    return attend(query, own, own_mask, prefix, jnp.arange(P) < jnp.array([[P], [4]]))


def gradients_of_attention(dtype: str) -> list[jax.Array]:
    operands, weights = attention_of(dtype)
    gradient = jax.grad(lambda operands: jnp.sum(weights * attended(*operands)))
    return jax.tree.leaves(jax.jit(gradient)(operands))


def equations(jaxpr: Any) -> Iterator[Any]:
    """Those of a program and of all programs inside it."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(equation.params, is_leaf=lambda leaf: hasattr(leaf, "eqns")):
            if hasattr(inner, "eqns"):
                yield from equations(inner)


@pytest.fixture(scope="module")
def narrow_gradient(model: Qwen2) -> list[Any]:
    """The equations of the gradient of a model in bfloat16."""
    graph, params = nnx.split(model)
    prompt_QxP = np.zeros((2, 5), np.int32)

    def loss(params: nnx.State) -> jax.Array:
        narrow = nnx.merge(graph, qwen2.cast(params, "bfloat16"))
        return jnp.sum(hidden_behind(narrow, prompt_QxP, np.array([5, 3]), TOKENS))

    return list(equations(jax.make_jaxpr(jax.grad(loss))(params)))


def test_no_matmul_of_a_bfloat16_model_has_float32_operands_backward_neither(narrow_gradient):
    matmuls = [it for it in narrow_gradient if it.primitive.name == "dot_general"]
    assert len(matmuls) > CONFIG.num_layers * 3 * 4
    assert {str(operand.aval.dtype) for it in matmuls for operand in it.invars} == {"bfloat16"}


def test_what_all_tokens_give_to_a_gradient_is_added_up_in_float32(narrow_gradient):
    """Of biases, of the norms' scales, and of the rows of the embedding."""
    names = "reduce_sum", "scatter-add"
    sums = [it for it in narrow_gradient if it.primitive.name in names]
    assert len(sums) > CONFIG.num_layers * (3 + 2) + 1
    assert {it.primitive.name for it in sums} == set(names)
    assert {str(it.outvars[0].aval.dtype) for it in sums} == {"float32"}


def test_attention_s_gradient_in_bfloat16_is_float32_s_but_for_rounding():
    pairs = zip(gradients_of_attention("bfloat16"), gradients_of_attention("float32"), strict=True)
    for narrow, wide in pairs:
        assert narrow.dtype == jnp.bfloat16
        assert jnp.linalg.norm(narrow.astype(jnp.float32) - wide) < 0.01 * jnp.linalg.norm(wide)


def test_attention_s_gradient_in_float32_is_that_of_plain_einsums(monkeypatch):
    ours = gradients_of_attention("float32")
    monkeypatch.setattr(attention, "_product", jnp.einsum)
    chex.assert_trees_all_equal(ours, gradients_of_attention("float32"))


def test_joined_layers_change_no_hidden_state():
    joined = make()
    joined.join()
    arguments = TOKENS[:, 0], jnp.array([7, 3]), TOKENS
    np.testing.assert_allclose(
        hidden_behind(joined, *arguments), hidden_behind(make(), *arguments), rtol=1e-5, atol=1e-5
    )


def test_a_tied_head_is_the_embedding():
    tied = make(dataclasses.replace(CONFIG, tie_embeddings=True))
    hidden = hidden_of(tied, TOKENS)
    np.testing.assert_allclose(
        tied.logits(hidden), hidden @ tied.embedding[...].T, rtol=1e-5, atol=1e-5
    )


def test_rotation_depends_on_distance_alone_and_keeps_lengths():
    rng = np.random.default_rng(0)
    query, key = rng.normal(size=(2, 1, 1, 1, 1, 8)).astype(np.float32)

    def score(query_at: int, key_at: int) -> float:
        at = lambda t: jnp.full((1, 1, 1), t)  # noqa: E731
        return float(jnp.sum(rotate(query, at(query_at), 1e4) * rotate(key, at(key_at), 1e4)))

    assert score(7, 3) == pytest.approx(score(1004, 1000), abs=1e-3)
    assert score(7, 3) != pytest.approx(score(7, 5), abs=1e-2)
    assert score(0, 0) == pytest.approx(float(np.sum(query * key)), abs=1e-5)
