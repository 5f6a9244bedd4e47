"""The learner as a whole: on 8 devices as on one, no program twice, never [B, T, V]."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxswarm.learner import generate, train_step
from jaxswarm.learner.learner import Learner
from jaxswarm.learner.optimizer import OptimizerConfig, learning_rate
from jaxswarm.learner.packing import pack
from jaxswarm.learner.sampling import GREEDY, Sampling
from jaxswarm.model.qwen2 import Qwen2
from jaxswarm.model.sharding import make_mesh, param_shardings
from tests.learner import tiny

OPTIMIZER = OptimizerConfig(
    learning_rate=1e-2,
    schedule="constant",
    warmup_steps=0,
    total_steps=10,
    clip_norm=1e9,
    weight_decay=0.0,
    b1=0.9,
    b2=0.99,
)


def learner(data: int, fsdp: int, tensor: int, **settings) -> Learner:
    devices = jax.devices()[: data * fsdp * tensor]
    mesh = make_mesh(data=data, fsdp=fsdp, tensor=tensor, devices=devices)
    graph, params = nnx.split(tiny.model())
    placed = jax.device_put(params, param_shardings(params, mesh))
    return Learner(graph, placed, mesh, tiny.grpo(**settings), OPTIMIZER)


def roll(
    made: Learner, sampling: Sampling, prompt=tiny.PROMPT_QxP, seed: int = 3, length=tiny.LENGTH_Q
):
    return made.generate(
        prompt,
        length,
        seed=seed,
        group=4,
        limit=10,
        sampling=sampling,
        stop_tokens=(3, 4, 5),
    )


@contextmanager
def compilations() -> Iterator[list[str]]:
    """The programs that XLA compiles inside the block."""
    seen: list[str] = []

    def listen(event: str, duration: float, **_: object) -> None:  # noqa: ARG001
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize("sizes", [(2, 2, 2)])
def test_a_sharded_learner_does_what_one_device_does(sizes):
    one, many = learner(1, 1, 1, beta=0.1), learner(*sizes, beta=0.1)
    expected, got = roll(one, GREEDY), roll(many, GREEDY)
    np.testing.assert_array_equal(got.token_QxGxC, expected.token_QxGxC)
    np.testing.assert_allclose(got.logprob_QxGxC, expected.logprob_QxGxC, atol=1e-4)
    batch = tiny.batch(tiny.model())
    for _ in range(2):
        metrics, same = one.step(batch), many.step(batch)
        np.testing.assert_allclose(same.loss, metrics.loss, rtol=1e-5)
        np.testing.assert_allclose(same.grad_norm, metrics.grad_norm, rtol=1e-5)


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_micro_batch_is_divided_among_all_devices_and_the_step_stays_the_same(
    monkeypatch, is_packed
):
    batch = jax.tree.map(lambda array: np.concatenate([array, array]), tiny.batch(tiny.model()))
    if is_packed:
        batch = batch._replace(packing=pack(batch.length_QxG, 10, (3,)))
        assert batch.packing is not None
    one, many = learner(1, 1, 1, micro_batches=8), learner(1, 4, 1, micro_batches=8)
    expected = one.step(batch)

    shards, logprobs = set(), train_step.completion_logprobs

    def watched(model, prompt_QxP, prompt_length_Q, token_QxGxC, packing, **settings):
        for array in (prompt_QxP, token_QxGxC, *jax.tree.leaves(packing)):
            shape = array.shape
            jax.debug.inspect_array_sharding(
                array,
                callback=lambda place, shape=shape: shards.add((shape, place.shard_shape(shape))),
            )
        return logprobs(model, prompt_QxP, prompt_length_Q, token_QxGxC, packing, **settings)

    monkeypatch.setattr(train_step, "completion_logprobs", watched)
    got = many.step(batch)
    assert shards
    assert {(whole[0], shard[0]) for whole, shard in shards} == {(4, 1)}, "of 8 questions, 2 pieces"
    np.testing.assert_allclose(got.loss, expected.loss, rtol=1e-5)
    np.testing.assert_allclose(got.grad_norm, expected.grad_norm, rtol=1e-5)


def test_long_prompts_are_read_in_pieces_by_all_devices_and_draw_the_same(monkeypatch):
    prompt, length = (np.concatenate([a, a]) for a in (tiny.PROMPT_QxP, tiny.LENGTH_Q))
    expected = roll(learner(1, 1, 1), GREEDY, prompt=prompt, length=length)
    of_question = 4 * tiny.CONFIG.num_heads * prompt.shape[1] ** 2
    monkeypatch.setattr(generate, "PROMPT_SCORES_BYTES", of_question)
    shards, read = set(), Qwen2.prompt

    def watched(model, token_QxP, length_Q):
        jax.debug.inspect_array_sharding(
            token_QxP,
            callback=lambda place: shards.add((token_QxP.shape, place.shard_shape((4, 12)))),
        )
        return read(model, token_QxP, length_Q)

    monkeypatch.setattr(Qwen2, "prompt", watched)
    got = roll(learner(1, 4, 1), GREEDY, prompt=prompt, length=length)
    assert shards == {((4, 12), (1, 12))}, "of 8 questions, 2 pieces"
    np.testing.assert_array_equal(got.token_QxGxC, expected.token_QxGxC)
    np.testing.assert_allclose(got.logprob_QxGxC, expected.logprob_QxGxC, atol=1e-4)


def test_weights_and_moments_lie_in_pieces_and_the_step_keeps_them_there():
    made = learner(1, 4, 2)
    made.step(tiny.batch(tiny.model()))
    weight = made.state.params["blocks"][0]["feed_forward"]["gate"]["weight"].get_value()
    assert weight.addressable_shards[0].data.shape == (48 // 2, 32 // 4)
    moments = [leaf for leaf in jax.tree.leaves(made.state.opt_state) if leaf.shape == weight.shape]
    assert moments
    assert all(leaf.sharding == weight.sharding for leaf in moments)
    assert all(leaf.dtype == jnp.float32 for leaf in moments)


def test_nothing_compiles_twice_for_the_same_bucket():
    made, batch = learner(1, 1, 1), tiny.batch(tiny.model())
    with compilations() as first:
        roll(made, Sampling())
        made.step(batch)
    assert first, "the listener hears compilations"
    with compilations() as later:
        for seed in range(3):
            roll(made, Sampling(), prompt=(tiny.PROMPT_QxP + seed) % 96, seed=seed)
            made.step(batch)
    assert later == []
    with compilations() as another:
        roll(made, Sampling(), prompt=np.pad(tiny.PROMPT_QxP, [(0, 0), (0, 4)]))
    assert another, "another bucket is another program"


def test_no_array_has_the_vocabulary_for_every_position():
    made, batch = learner(1, 1, 1, beta=0.1, remat=True), tiny.batch(tiny.model())
    with jax.set_mesh(make_mesh(data=1, fsdp=1, tensor=1, devices=jax.devices()[:1])):
        step = made._step.trace(made.state, made._reference, batch).jaxpr
        generate = trace_generate(made, 10).jaxpr
    V, rows = tiny.CONFIG.vocab_size, 4 * 4
    # A step has logits for a slice of the vocabulary alone: what has all of it is the head.
    assert largest_with_axis(step, V) == tiny.CONFIG.hidden_size * V
    # Generation has logits for one token of each row, never for the prompt.
    assert largest_with_axis(generate, V) <= max(rows, tiny.CONFIG.hidden_size) * V


def test_decoding_holds_one_cache_and_no_copy_of_it():
    made = learner(1, 1, 1)
    with jax.set_mesh(make_mesh(data=1, fsdp=1, tensor=1, devices=jax.devices()[:1])):
        bytes_of = {
            limit: trace_generate(made, limit)
            .lower()
            .compile()
            .memory_analysis()
            .temp_size_in_bytes
            for limit in (64, 1088)
        }
    config = tiny.CONFIG
    slot = 2 * 4 * config.num_layers * config.num_kv_heads * config.head_dim
    of_cache = 16 * 1024 * slot
    grown = bytes_of[1088] - bytes_of[64]
    assert of_cache <= grown < 1.5 * of_cache, "one layer's keys may be turned over, no more"


def test_weights_in_pieces_are_gathered_once_and_not_for_each_token():
    made = learner(1, 4, 1)
    with jax.set_mesh(made._mesh):
        program = trace_generate(made, 10).lower().compile().as_text()
    gathers = [line for line in program.splitlines() if " all-gather" in line]
    assert gathers
    assert not [line for line in gathers if "/while/body" in line]


@pytest.mark.parametrize(
    ("tensor", "dtype", "are_joined"),
    [(1, "float32", False), (1, "bfloat16", True), (2, "bfloat16", False)],
)
def test_weights_that_are_copied_for_their_dtype_are_joined_unless_they_lie_in_pieces(
    tensor, dtype, are_joined
):
    made = learner(1, 2, tensor, dtype=dtype)
    with jax.set_mesh(made._mesh):
        program = trace_generate(made, 10).jaxpr
    config = tiny.CONFIG
    of_attention = (config.num_heads + 2 * config.num_kv_heads) * config.head_dim
    assert (largest_with_axis(program, of_attention) > 0) == are_joined


def trace_generate(made: Learner, limit: int):
    return made._generate.program.trace(
        made.state.params,
        tiny.PROMPT_QxP,
        tiny.LENGTH_Q,
        np.full((4, 4), limit, np.int32),
        jax.random.key(0),
        limit=limit,
        sampling=Sampling(),
        stop_tokens=(),
    )


def largest_with_axis(jaxpr, size: int) -> int:
    """The number of elements of the largest array with an axis of `size`, inner programs included.

    No other axis of these programs has that size.
    """
    largest = 0
    for equation in jaxpr.eqns:
        for variable in equation.outvars:
            shape = getattr(variable.aval, "shape", ())
            if size in shape:
                largest = max(largest, int(np.prod(shape)))
        for inner in jax.core.jaxprs_in_params(equation.params):
            largest = max(largest, largest_with_axis(inner, size))
    return largest


def test_without_beta_no_reference_is_held_and_with_it_it_stays_as_it_was():
    assert not learner(1, 1, 1).has_reference
    made = learner(1, 1, 1, beta=0.1)
    before = jax.device_get(made._reference)
    made.step(tiny.batch(tiny.model()))
    for was, is_ in zip(jax.tree.leaves(before), jax.tree.leaves(made._reference), strict=True):
        np.testing.assert_array_equal(was, is_)
    changed = made.state.params["norm"]["scale"].get_value()
    assert (np.asarray(changed) != before["norm"]["scale"].get_value()).any()


def test_restore_takes_over_a_state_and_gives_its_notes():
    made = learner(1, 1, 1)
    state = jax.device_get(made.state)
    made.step(tiny.batch(tiny.model()))

    def load(abstract):
        placed = jax.tree.map(
            lambda host, like: jax.device_put(host, like.sharding), state, abstract
        )
        return placed, {"round": 3}

    assert made.restore(load) == {"round": 3}
    assert made.state.step == 0
    made.step(tiny.batch(tiny.model()))
    assert made.state.step == 1


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("constant", 0, 0.25),
        ("constant", 3, 1.0),
        ("constant", 9, 1.0),
        ("cosine", 7, 0.5),
        ("cosine", 10, 0.0),
    ],
)
def test_the_learning_rate_warms_up_then_stays_or_falls(schedule, step, expected):
    config = OptimizerConfig(1.0, schedule, 4, 10, 1.0, 0.0, 0.9, 0.99)
    np.testing.assert_allclose(learning_rate(config)(step), expected, atol=1e-6)
