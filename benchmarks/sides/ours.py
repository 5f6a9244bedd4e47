"""jaxswarm's side of the benchmarks: the learner as a node uses it."""

import jax
import numpy as np

from benchmarks.work import Measured, Work, repeat, run
from jaxswarm.learner.generate import Rollout
from jaxswarm.learner.learner import Learner
from jaxswarm.learner.optimizer import OptimizerConfig
from jaxswarm.learner.sampling import Sampling
from jaxswarm.learner.train_step import Batch, GRPOConfig
from jaxswarm.model import qwen2, weights
from jaxswarm.model.sharding import make_mesh
from jaxswarm.model.sources import open_source


def ours(work: Work) -> Measured:
    source = open_source(work.model)
    mesh = make_mesh(data=1, fsdp=1, tensor=1, devices=jax.devices()[:1])
    graph, _ = qwen2.abstract(source.config)
    grpo = GRPOConfig(
        loss="dapo",
        advantage_scale="group",
        beta=work.beta if work.train else 0.0,
        eps_low=0.2,
        eps_high=0.2,
        updates=1,
        micro_batches=work.micro_batches,
        temperature=1.0,
        limit=work.limit,
        vocab_slice=16384,
        remat=True,
        dtype=work.dtype,
    )
    optimizer = OptimizerConfig(
        learning_rate=work.learning_rate,
        schedule="constant",
        warmup_steps=0,
        total_steps=1,
        clip_norm=1.0,
        weight_decay=0.0,
        b1=0.9,
        b2=0.999,
    )
    learner = Learner(graph, weights.load(source, mesh, "float32"), mesh, grpo, optimizer)
    length_Q = np.array([len(prompt) for prompt in work.prompts], np.int32)
    prompt_QxP = np.zeros((len(work.prompts), max(length_Q)), np.int32)
    for row, prompt in zip(prompt_QxP, work.prompts, strict=True):
        row[: len(prompt)] = prompt
    reward_QxG = np.array(work.rewards(), np.float32)

    def generate() -> Rollout:
        return learner.generate(
            prompt_QxP,
            length_Q,
            seed=0,
            group=work.group,
            limit=work.limit,
            sampling=Sampling(),
            stop_tokens=(),
        )

    def train(rollout: Rollout) -> None:
        tokens, logprobs = rollout.token_QxGxC, rollout.logprob_QxGxC
        learner.step(
            Batch(prompt_QxP, length_Q, tokens, rollout.length_QxG, logprobs, reward_QxG)  # pyright: ignore[reportArgumentType]
        )

    return repeat(work, generate, train)


if __name__ == "__main__":
    run(ours)
