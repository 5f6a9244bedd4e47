"""What the device could do at most, measured beside what was done: matmuls, copies, peak rates."""

import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.work import Work
from jaxswarm.model import qwen2
from jaxswarm.model.linear import Joined, Linear, project

PEAK_FLOPS = {"NVIDIA H100 80GB HBM3": 989e12, "NVIDIA H200": 989e12}
"""Dense bfloat16, as the maker states them."""

COPIES = 20
"""Copies in one program."""


def best_s(work: Callable[[], object], repeats: int = 5, calls: int = 1) -> float:
    """Seconds of a call in the fastest of some runs, after one that compiles.

    `calls`: of a run, all asked for before the last is waited for.
    """
    jax.block_until_ready(work())
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        done = None
        for _ in range(calls):
            done = work()
        jax.block_until_ready(done)
        seconds.append((time.perf_counter() - began) / calls)
    return min(seconds)


def _calls() -> int:
    """To ask an accelerator for a program can take longer than to run it; a CPU runs it itself."""
    return 1 if jax.default_backend() == "cpu" else 20


def copy_bytes_per_s() -> float:
    """Bytes read and written by copies too large for any cache."""
    array = jnp.ones(2**26 if jax.default_backend() == "cpu" else 2**29, jnp.float32)

    @jax.jit
    def copy_often(array: jax.Array) -> jax.Array:
        # Squares: no compiler makes one copy of several, as it could of negations.
        return jax.lax.fori_loop(0, COPIES, lambda _, last: last * last, array)

    once_more = 1  # what is given stays: the loop starts with a copy of it
    return (COPIES + once_more) * 2 * array.nbytes / best_s(partial(copy_often, array))


def flops(dtype: str) -> float:
    """The maker's figure where it is known, else that of a large matmul here."""
    known = PEAK_FLOPS.get(jax.devices()[0].device_kind)
    if known is not None and dtype == "bfloat16":
        return known
    size = 2048 if jax.default_backend() == "cpu" else 8192
    square = jnp.ones((size, size), dtype)
    return 2 * size**3 / best_s(partial(jax.jit(jnp.matmul), square, square), calls=_calls())


def matmuls_s(graph: nnx.GraphDef, params: nnx.State, rows: int, dtype: str) -> float:
    """A decode step's matmuls with weights alone, one after the other, in the order it has them."""
    # Generation casts and joins once, before its loop: see `jaxswarm.learner.generator`.
    model = nnx.merge(graph, jax.jit(partial(qwen2.cast, dtype=dtype))(params))
    if dtype != "float32":
        model.join()
    graph, weights = nnx.split(model)
    # A flat list: to take a State apart for each call would take the host half a millisecond.
    leaves, tree = jax.tree.flatten(weights)

    @jax.jit
    def run(leaves: list[jax.Array], x_BxD: jax.Array) -> jax.Array:
        model = nnx.merge(graph, jax.tree.unflatten(tree, leaves))
        for block in model.blocks:
            mixed, narrow = block.attention, block.feed_forward
            query, key, value = _each(x_BxD, mixed.joined, mixed.query, mixed.key, mixed.value)
            query += jnp.tile(key + value, (1, query.shape[1] // key.shape[1]))
            x_BxD = project(query, mixed.out.weight[...])
            gate, up = _each(x_BxD, narrow.joined, narrow.gate, narrow.up)
            x_BxD = project(gate * up, narrow.down.weight[...])
        return model.logits(x_BxD)

    x_BxD = jnp.full((rows, model.config.hidden_size), 1e-3, dtype)
    return best_s(partial(run, leaves, x_BxD), calls=_calls())


def _each(x_BxI: jax.Array, joined: Joined | None, *layers: Linear) -> list[jax.Array]:
    """The layers' matmuls, as one where they were joined, without their biases."""
    if joined is None:
        return [project(x_BxI, layer.weight[...]) for layer in layers]
    return jnp.split(project(x_BxI, joined.weight[...]), joined.ends, axis=-1)


def decode(
    graph: nnx.GraphDef, params: nnx.State, work: Work, generate_s: float, first_s: float
) -> dict[str, float]:
    """Figures of a decode step. `first_s`: the same completions cut after their first token."""
    rows = len(work.prompts) * work.group
    width = 2 if work.dtype == "bfloat16" else 4
    model = nnx.merge(graph, params).config
    of_token = 2 * model.num_layers * model.num_kv_heads * model.head_dim * width
    own = rows * sum(range(1, work.limit + 1)) / work.limit
    shared = sum(map(len, work.prompts))
    step_s = (generate_s - first_s) / (work.limit - 1)
    step_bytes = model.num_parameters * width + (own + shared) * of_token
    figures = {
        "decode_step_s": step_s,
        "matmuls_s": matmuls_s(graph, params, rows, work.dtype),
    }
    if jax.default_backend() == "cpu":
        # A copy into fresh memory waits for its pages there, and tells nothing of reading weights.
        return figures
    return figures | {"step_bytes": step_bytes, "copy_bytes_per_s": copy_bytes_per_s()}
