"""jaxswarm's side of the benchmarks: the learner as a node uses it. Needs jax, flax, optax."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from benchmarks import roofline
from benchmarks.work import Measured, Work, jax_peak_gb, repeat, run
from jaxswarm.host import memory
from jaxswarm.learner import compiling
from jaxswarm.learner.generate import Rollout
from jaxswarm.learner.generator import Generator
from jaxswarm.learner.learner import Learner
from jaxswarm.learner.optimizer import OptimizerConfig
from jaxswarm.learner.packing import pack
from jaxswarm.learner.profile import profiled
from jaxswarm.learner.sampling import Sampling
from jaxswarm.learner.train_step import Batch, GRPOConfig
from jaxswarm.model import precision, qwen2, weights
from jaxswarm.model.config import ModelConfig
from jaxswarm.model.sharding import make_mesh, param_shardings
from jaxswarm.model.sources import open_source


def ours(work: Work) -> Measured:
    precision.set_for(work.dtype)
    graph, params, mesh = make_params(work)
    learner = Learner(graph, params, mesh, grpo(work), optimizer(work)) if work.train else None
    draw = learner.generate if learner else partial(Generator(graph, mesh, work.dtype), params)
    length_Q = np.array([len(prompt) for prompt in work.prompts], np.int32)
    prompt_QxP = np.zeros((len(work.prompts), max(length_Q)), np.int32)
    for row, prompt in zip(prompt_QxP, work.prompts, strict=True):
        row[: len(prompt)] = prompt
    budget_QxG = np.array(work.limits, np.int32)
    reward_QxG = np.array(work.rewards(), np.float32)
    buckets = () if work.is_even else tuple(np.arange(1, work.group, 0.125))

    def generate(budget_QxG: np.ndarray = budget_QxG) -> Rollout[np.ndarray]:
        return draw(
            prompt_QxP,
            length_Q,
            seed=0,
            group=work.group,
            limit=work.limit,
            sampling=Sampling(),
            stop_tokens=(),
            budget_QxG=budget_QxG,
        )

    def train(rollout: Rollout[np.ndarray], buckets: tuple[float, ...] = buckets) -> None:
        assert learner
        learner.step(
            Batch(
                prompt_QxP,
                length_Q,
                rollout.token_QxGxC,
                rollout.length_QxG,
                rollout.logprob_QxGxC,
                reward_QxG,
                np.zeros_like(reward_QxG, bool),
                pack(rollout.length_QxG, work.limit, buckets),
            )
        )

    measured = repeat(work, generate, train, jax_peak_gb, settle=_settle)
    compaction_s: dict[str, dict[str, list[float]]] = {}
    if not work.is_even:
        # A finished row that stays costs as much as one that goes on.
        none_ends = partial(generate, np.full_like(budget_QxG, work.limit))
        compaction_s["generate"] = _in_turns(work.repeats, generate, none_ends)
        if work.train:
            rollout = generate()
            unpacked = partial(train, rollout, buckets=())
            unpacked()  # compiles
            compaction_s["update"] = _in_turns(work.repeats, partial(train, rollout), unpacked)
    if learner:
        params = learner.state.params  # those given were its to change
    devices = jax.tree.leaves(params)[0].sharding.num_devices
    rates = {"flops_per_s": devices * roofline.flops(work.dtype)}
    if work.is_even:
        first_s = roofline.best_s(lambda: generate(np.ones_like(budget_QxG)), 2)
        whole_s = min(measured.generate_s)
        rates |= roofline.decode(graph, params, work, whole_s, first_s)
    if work.train:
        seen = work.tokens + sum(map(len, work.prompts))
        parameters = nnx.merge(graph, params).config.num_parameters
        pairs = zip(measured.step_s, measured.generate_s, strict=True)
        train_s = min(step_s - generate_s for step_s, generate_s in pairs)
        rates |= {"train_s": train_s, "train_flops": 6.0 * parameters * seen}
    with profiled() as profile:
        rollout = generate()
        if work.train:
            train(rollout)
    return replace(measured, rates=rates, compaction_s=compaction_s, profile=profile.seconds)


def _settle() -> None:
    """Hands memory back as a node does between stages, after which others' outputs are awaited."""
    time.sleep(2.0)  # XLA frees a program's block a little after its results are ready
    memory.give_back()


def _in_turns(
    repeats: int, compacted: Callable[[], object], plain: Callable[[], object]
) -> dict[str, list[float]]:
    """Seconds of the same work with compaction and without."""
    ways = {"with": compacted, "without": plain}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, work in ways.items():
            began = time.perf_counter()
            work()
            seconds[way].append(time.perf_counter() - began)
    return seconds


def grpo(work: Work) -> GRPOConfig:
    """The update of that work."""
    return GRPOConfig(
        loss="dapo",
        advantage_scale="group",
        beta=work.beta,
        eps_low=0.2,
        eps_high=0.2,
        updates=1,
        micro_batches=work.micro_batches,
        temperature=1.0,
        limit=work.limit,
        vocab_slice=16384,
        remat=work.recompute,
        dtype=work.dtype,
    )


def optimizer(work: Work) -> OptimizerConfig:
    """AdamW as the peers have it."""
    return OptimizerConfig(
        learning_rate=work.learning_rate,
        schedule="constant",
        warmup_steps=0,
        total_steps=1,
        clip_norm=1.0,
        weight_decay=0.0,
        b1=0.9,
        b2=0.999,
    )


def make_params(work: Work) -> tuple[nnx.GraphDef, nnx.State, Mesh]:
    """The weights of the work's model, or random ones of its shape.

    On one device; of TPUs, of which one may hold too little, on all, with the weights in pieces.
    """
    devices = jax.devices() if jax.default_backend() == "tpu" else jax.devices()[:1]
    mesh = make_mesh(data=1, fsdp=-1, tensor=1, devices=devices)
    directory = Path(work.model)
    if (directory / "model.safetensors").exists():
        source = open_source(work.model)
        graph, _ = qwen2.abstract(source.config)
        params = weights.load(source, mesh, "float32")
    else:
        values = json.loads((directory / "config.json").read_text())
        config = ModelConfig.from_hf(values, source=work.model)
        graph, abstract = qwen2.abstract(config)
        params = jax.jit(
            lambda: nnx.split(qwen2.Qwen2(config, nnx.Rngs(0)))[1],
            out_shardings=param_shardings(abstract, mesh),
        )()
    return graph, params, mesh


if __name__ == "__main__":
    memory.keep_freed()
    compiling.hand_memory_back()
    run(ours)
