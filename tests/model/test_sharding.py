"""The mesh and the one table, on eight simulated devices."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

from jaxswarm.errors import InputError
from jaxswarm.model import qwen2
from jaxswarm.model.qwen2 import Qwen2
from jaxswarm.model.sharding import (
    MESH_AXES,
    check_divides,
    constrain,
    make_mesh,
    param_shardings,
    sharding,
    spec,
    ways_along,
)
from tests.model.tiny_config import CONFIG


@pytest.mark.parametrize(
    ("asked", "made"),
    [((2, 2, 2), (2, 2, 2)), ((-1, 1, 4), (2, 1, 4)), ((1, -1, 1), (1, 8, 1)), ((1, 1, 8),) * 2],
)
def test_a_mesh_has_the_sizes_asked_for_and_one_of_them_may_be_left_open(asked, made):
    mesh = make_mesh(**dict(zip(MESH_AXES, asked, strict=True)))
    assert tuple(mesh.shape[axis] for axis in MESH_AXES) == made


@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 1, -1), (-1, -1, 1), (2, 2, 4), (0, 1, -1)])
def test_a_mesh_that_does_not_divide_the_devices_is_one_clear_line(sizes):
    with pytest.raises(InputError, match=r"mesh .* number of devices, 8.*--config.mesh.data"):
        make_mesh(**dict(zip(MESH_AXES, sizes, strict=True)))


@pytest.mark.parametrize(
    ("sizes", "changes", "batches", "named"),
    [
        ((1, 1, 8), {}, {}, "query heads of the model: got 4; .*tensor size, 8"),
        ((2, 1, 4), {"intermediate_size": 50}, {}, "feed-forward width of the model: got 50"),
        ((2, 1, 4), {"vocab_size": 65}, {}, "vocabulary of the model: got 65"),
        ((1, 8, 1), {"hidden_size": 36}, {}, "hidden size of the model: got 36; .*fsdp size, 8"),
        ((4, 2, 1), {}, {"held out": 8, "round": 12}, "round: got 12; .*data x fsdp size, 8"),
    ],
)
def test_a_model_or_a_batch_that_the_mesh_does_not_divide_is_named(sizes, changes, batches, named):
    mesh = make_mesh(**dict(zip(MESH_AXES, sizes, strict=True)))
    with pytest.raises(InputError, match=named):
        check_divides(dataclasses.replace(CONFIG, **changes), mesh, batches)


def test_a_model_with_fewer_key_value_heads_than_the_tensor_axis_is_accepted():
    mesh = make_mesh(data=2, fsdp=1, tensor=4)
    check_divides(dataclasses.replace(CONFIG, num_kv_heads=1), mesh, {"questions of a round": 2})


def test_each_parameter_lies_where_its_axes_say():
    mesh = make_mesh(data=1, fsdp=2, tensor=4)
    _, params = qwen2.abstract(CONFIG)
    block = param_shardings(params, mesh)["blocks"][0]
    places = {
        "query": block["attention"]["query"]["weight"],
        "query bias": block["attention"]["query"]["bias"],
        "out": block["attention"]["out"]["weight"],
        "down": block["feed_forward"]["down"]["weight"],
        "norm": block["attention_norm"]["scale"],
    }
    assert {name: place.get_value().spec for name, place in places.items()} == {
        "query": P(("tensor",), ("fsdp",)),
        "query bias": P(("tensor",)),
        "out": P(("fsdp",), ("tensor",)),
        "down": P(("fsdp",), ("tensor",)),
        "norm": P(None),
    }


def test_an_axis_that_the_mesh_does_not_divide_is_repeated():
    mesh = make_mesh(data=2, fsdp=1, tensor=4)
    assert spec((30, 64), ("kv_heads", "embed"), mesh) == P(None, ("fsdp",))
    assert spec((4, 7), ("question", None), mesh) == P(("data", "fsdp"), None)
    assert spec((3, 7), ("question", None), mesh) == P(None, None)


def test_questions_are_cut_into_as_many_parts_as_the_mesh_can():
    mesh = make_mesh(data=2, fsdp=2, tensor=2)
    assert [ways_along("question", questions, mesh) for questions in (8, 6)] == [4, 1]
    assert ways_along("question", 8) == 1, "no mesh is set"
    with jax.set_mesh(mesh):
        assert ways_along("question", 8) == 4


def test_two_axes_of_one_array_never_share_a_mesh_axis():
    with pytest.raises(AssertionError, match="same mesh axis twice"):
        spec((8, 8), ("vocab", "ffn"), make_mesh(data=1, fsdp=1, tensor=8))


def test_an_activation_is_pinned_inside_a_mesh_and_left_alone_outside():
    pinned = jax.jit(lambda x: constrain(x, "question", None))
    x = jnp.ones((8, 3))
    assert len(pinned(x).sharding.device_set) == 1
    mesh = make_mesh(data=4, fsdp=2, tensor=1)
    with jax.set_mesh(mesh):
        assert pinned(x).sharding.is_equivalent_to(sharding((8, 3), ("question", None), mesh), 2)


@pytest.mark.parametrize(("sizes", "kv_heads"), [((2, 2, 2), 2), ((2, 1, 4), 1)], ids=str)
def test_logits_and_gradients_on_eight_devices_are_those_of_one(sizes, kv_heads):
    config = dataclasses.replace(CONFIG, num_kv_heads=kv_heads, num_layers=1)
    graph, params = nnx.split(Qwen2(config, nnx.Rngs(0)))
    token_QxGxT = np.random.default_rng(0).integers(0, 64, (8, 2, 6)).astype(np.int32)

    @partial(jax.value_and_grad, has_aux=True)
    def loss(params, token_QxGxT):
        model = nnx.merge(graph, params)
        logits = model.logits(model(token_QxGxT)[0])
        return jnp.mean(jax.nn.logsumexp(logits, axis=-1) ** 2), logits

    (_, logits), gradient = jax.jit(loss)(params, token_QxGxT)
    mesh = make_mesh(**dict(zip(MESH_AXES, sizes, strict=True)))
    placed = jax.device_put(params, param_shardings(params, mesh))
    rows = jax.device_put(token_QxGxT, sharding((8, 2, 6), ("question", None, None), mesh))
    with jax.set_mesh(mesh):
        (_, sharded_logits), sharded_gradient = jax.jit(loss)(placed, rows)
    np.testing.assert_allclose(sharded_logits, logits, rtol=1e-5, atol=1e-6)

    def assert_close(sharded, alone):
        scale = np.abs(alone).max()
        np.testing.assert_allclose(sharded, alone, rtol=1e-5, atol=1e-5 * scale)

    jax.tree.map(assert_close, sharded_gradient, gradient)


def test_devices_that_jax_can_not_have_are_one_clear_line(monkeypatch):
    def unavailable():
        raise RuntimeError("Unable to initialize backend 'cuda':\n  no driver")

    monkeypatch.setattr(jax, "devices", unavailable)
    with pytest.raises(InputError, match=r"backend 'cuda': no driver.*; see .*JAX_PLATFORMS"):
        make_mesh(data=1, fsdp=-1, tensor=1)
