"""The table of names, loading piece by piece, and export."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

from jaxswarm.errors import InputError
from jaxswarm.model import qwen2, weights
from jaxswarm.model.config import ModelConfig
from jaxswarm.model.sharding import make_mesh, param_shardings
from jaxswarm.model.weights import HEAD, Source
from tests.model.tiny_config import CONFIG

GATE = "model.layers.1.mlp.gate_proj.weight"


def tensors_of(config: ModelConfig) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(size=shape).astype(np.float32)
        for name, (_, shape) in weights.hf_tensors(config).items()
    }


def source_of(tensors: dict[str, np.ndarray], config: ModelConfig = CONFIG) -> Source:
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    return Source("here", config, shapes, tensors.__getitem__, tokenizer=None)


def mesh_of(data=1, fsdp=1, tensor=1):
    return make_mesh(
        data=data, fsdp=fsdp, tensor=tensor, devices=jax.devices()[: data * fsdp * tensor]
    )


@pytest.mark.parametrize("tied", [True, False])
def test_the_table_names_every_tensor_of_transformers_with_its_shape(make_model, tied):
    model = make_model(tie_word_embeddings=tied, num_key_value_heads=1, hidden_size=48)
    config = ModelConfig.from_hf(model.config.to_dict(), source="made")
    theirs = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert {name: shape for name, (_, shape) in weights.hf_tensors(config).items()} == theirs


def test_every_tensor_lies_as_it_was():
    tensors = tensors_of(CONFIG)
    params = weights.load(source_of(tensors), mesh_of(), "float32")
    block = params["blocks"][1]
    np.testing.assert_array_equal(block["feed_forward"]["gate"]["weight"][...], tensors[GATE])
    np.testing.assert_array_equal(params["embedding"][...], tensors["model.embed_tokens.weight"])
    np.testing.assert_array_equal(
        block["attention"]["key"]["bias"][...], tensors["model.layers.1.self_attn.k_proj.bias"]
    )


@pytest.mark.parametrize("tied", [True, False])
def test_what_was_loaded_exports_bit_for_bit(tied):
    config = dataclasses.replace(CONFIG, tie_embeddings=tied)
    tensors = tensors_of(config)
    exported = dict(weights.export(weights.load(source_of(tensors, config), mesh_of(), "float32")))
    assert exported.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(exported[name], tensor, err_msg=name)


def test_the_loaded_state_fits_the_model_s_graph():
    graph, abstract = qwen2.abstract(CONFIG)
    params = weights.load(source_of(tensors_of(CONFIG)), mesh_of(), "float32")
    assert jax.tree.structure(params) == jax.tree.structure(abstract)
    hidden, _ = nnx.merge(graph, params)(jnp.ones((1, 1, 4), jnp.int32))
    assert hidden.shape == (1, 1, 4, 32)


@pytest.mark.parametrize("stored", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("asked", ["float32", "bfloat16"])
def test_the_dtype_is_the_one_asked_for_whatever_is_stored(stored, asked):
    tensors = {name: tensor.astype(stored) for name, tensor in tensors_of(CONFIG).items()}
    params = weights.load(source_of(tensors), mesh_of(), asked)
    assert {array.dtype for array in jax.tree.leaves(params)} == {jnp.dtype(asked)}
    np.testing.assert_array_equal(
        np.asarray(params["head"]["weight"][...]), tensors[HEAD].astype(jnp.dtype(asked))
    )


@pytest.mark.parametrize("sizes", [(1, 1, 8), (1, 8, 1), (2, 2, 2), (8, 1, 1)], ids=str)
def test_every_device_gets_its_own_pieces(sizes):
    tensors, mesh = tensors_of(CONFIG), mesh_of(*sizes)
    params = weights.load(source_of(tensors), mesh, "float32")
    alone = weights.load(source_of(tensors), mesh_of(), "float32")
    _, abstract = qwen2.abstract(CONFIG)
    chex.assert_trees_all_equal(params, alone)
    for array, place in zip(
        jax.tree.leaves(params), jax.tree.leaves(param_shardings(abstract, mesh)), strict=True
    ):
        assert array.sharding == place


def test_no_tensor_is_ever_whole_on_a_device_of_a_mesh_that_splits_it():
    config = dataclasses.replace(CONFIG, vocab_size=4096)
    tensors = tensors_of(config)
    largest: list[int] = []

    def read(name: str) -> np.ndarray:
        split = [array for array in jax.live_arrays() if config.vocab_size in array.shape]
        largest.extend(max_piece(array) for array in split)
        return tensors[name]

    source = dataclasses.replace(source_of(tensors, config), read=read)
    params = weights.load(source, mesh_of(1, 2, 4), "float32")
    assert set(largest) == {4096 * 32 // 8}
    assert max_piece(params["embedding"][...]) == 4096 * 32 // 8


def max_piece(array: jax.Array) -> int:
    return max(piece.data.size for piece in array.addressable_shards)


def test_progress_is_told_tensor_by_tensor():
    told = []
    weights.load(source_of(tensors_of(CONFIG)), mesh_of(), "float32", lambda *at: told.append(at))
    total = len(weights.hf_tensors(CONFIG))
    assert told == [(done, total) for done in range(1, total + 1)]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.pop(GATE), rf"{GATE} of shape \(48, 32\), which is missing"),
        (
            lambda t: t.update({GATE: t[GATE].T}),
            rf"{GATE} of shape \(48, 32\), not \(32, 48\)",
        ),
        (
            lambda t: t.update({"model.extra": np.zeros(3)}),
            r"no model.extra, which is there with shape \(3,\)",
        ),
        (lambda t: t.clear(), r"27 that do not fit .* and 23 more"),
    ],
    ids=["missing", "mis-shaped", "unexpected", "empty"],
)
def test_tensors_that_do_not_fit_are_named_with_both_shapes(change, named):
    tensors = tensors_of(CONFIG)
    change(tensors)
    with pytest.raises(InputError, match=named):
        weights.load(source_of(tensors), mesh_of(), "float32")


def test_a_stored_head_is_ignored_only_where_the_config_ties_it():
    tied = dataclasses.replace(CONFIG, tie_embeddings=True)
    tensors = tensors_of(CONFIG)
    assert "head" not in weights.load(source_of(tensors, tied), mesh_of(), "float32")
    assert "head" in weights.load(source_of(tensors), mesh_of(), "float32")
    del tensors[HEAD]
    weights.check(source_of(tensors, tied))
    with pytest.raises(InputError, match=r"lm_head.weight of shape \(64, 32\), which is missing"):
        weights.check(source_of(tensors))
