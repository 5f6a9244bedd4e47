"""Supervised training: cross-entropy over the tokens of demonstrated replies, by AdamW.

One step sees a batch of each stage, two replies to each prompt. The log-probabilities come from the
learner's own code, so what is trained here is what the nodes will sample from.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxswarm.learner.logprobs import completion_logprobs
from jaxswarm.model.config import ModelConfig
from jaxswarm.model.qwen2 import Qwen2
from jaxswarm.records import Stage
from jaxswarm.tokenizer import Tokenizer
from tools.embedded.demonstrations import WRONG_OPERATION, demonstrate
from tools.embedded.problems import Problem, training_problems

LEARNING_RATE = 2e-3
WARMUP_STEPS = 30
REPLIES = 2
"""To each prompt: they share its pass through the model, and often one is right, one wrong."""


@dataclass(frozen=True, slots=True)
class StageShape:
    """How many prompts of a stage a step sees, and the widths they are padded to, in tokens.

    A demonstration that does not fit is passed over; few are.
    """

    prompts: int
    prompt_width: int
    reply_width: int


SHAPES = {
    Stage.ANSWER: StageShape(24, 44, 36),
    Stage.CRITIQUE: StageShape(12, 116, 44),
    Stage.RESOLVE: StageShape(12, 124, 80),
}


class Tokens(NamedTuple):
    """Demonstrations of one stage as arrays, padded at the right; G replies to each prompt."""

    prompt_QxP: jax.Array
    prompt_length_Q: jax.Array
    reply_QxGxC: jax.Array
    """The end of the turn included."""
    reply_length_QxG: jax.Array


def batches(
    words: Tokenizer, seed: int, mistaken: Callable[[Problem], float] = lambda _: WRONG_OPERATION
) -> Iterator[tuple[Tokens, ...]]:
    """Fresh demonstrations of every stage, step after step, without end.

    `mistaken` gives the share of wrong workings among the replies to a problem.
    """
    random_ = random.Random(f"{seed} demonstrations")
    problems = training_problems(random_)
    while True:
        step = []
        for stage, shape in SHAPES.items():
            prompts: list[list[int]] = []
            replies: list[list[int]] = []
            while len(prompts) < shape.prompts:
                problem = next(problems)
                shown = demonstrate(random_, stage, problem, REPLIES, mistaken(problem))
                (prompt,) = words.encode_prompts([shown.messages])
                group = words.encode_completions(shown.replies)
                longest = max(len(reply) for reply in group)
                if len(prompt) <= shape.prompt_width and longest <= shape.reply_width:
                    prompts.append(prompt)
                    replies += group
            prompt_QxP, prompt_length_Q = pad(prompts, shape.prompt_width)
            reply_BxC, reply_length_B = pad(replies, shape.reply_width)
            grid = (shape.prompts, REPLIES)
            step.append(
                Tokens(
                    prompt_QxP,
                    prompt_length_Q,
                    reply_BxC.reshape(*grid, -1),
                    reply_length_B.reshape(grid),
                )
            )
        yield tuple(step)


def pad(rows: Sequence[Sequence[int]], width: int) -> tuple[jax.Array, jax.Array]:
    """The rows as [B, width] int32, 0 at the right, and their lengths [B]."""
    padded = np.zeros((len(rows), width), np.int32)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return jnp.asarray(padded), jnp.asarray([len(row) for row in rows], jnp.int32)


def initial(config: ModelConfig, seed: int) -> tuple[nnx.GraphDef, nnx.State]:
    """A model's structure and random parameters.

    The model's own initialisation is that of large models. One as narrow as this one learns several
    times faster from weights of variance 1 / (their inputs).
    """
    graph, params = nnx.split(Qwen2(config, nnx.Rngs(seed)))
    rescaled = [
        (path, param.replace(param.get_value() * (param.get_value().shape[1] ** -0.5 / 0.02)))
        if path[-1] == "weight"
        else (path, param)
        for path, param in nnx.to_flat_state(params)
    ]
    return graph, nnx.from_flat_state(rescaled)


def train(config: ModelConfig, words: Tokenizer, seed: int) -> Iterator[tuple[nnx.State, float]]:
    """Trains step by step from random parameters; yields (parameters, loss) after each step.

    The parameters given are valid until the next step.
    """
    return further(*initial(config, seed), batches(words, seed))


def further(
    graph: nnx.GraphDef, params: nnx.State, steps: Iterable[tuple[Tokens, ...]]
) -> Iterator[tuple[nnx.State, float]]:
    """Trains on from these parameters, which are used up; otherwise as `train`."""
    schedule = optax.linear_schedule(LEARNING_RATE / WARMUP_STEPS, LEARNING_RATE, WARMUP_STEPS)
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(schedule, b2=0.98, weight_decay=0.01)
    )
    opt_state = optimizer.init(params)

    def loss(params: nnx.State, step: tuple[Tokens, ...]) -> jax.Array:
        model = nnx.merge(graph, params)
        total, count = jnp.float32(0), jnp.int32(0)
        for tokens in step:
            logprob_QxGxC, _ = completion_logprobs(
                model,
                tokens.prompt_QxP,
                tokens.prompt_length_Q,
                tokens.reply_QxGxC,
                temperature=1.0,
                vocab_slice=model.config.vocab_size,
                remat=False,
            )
            width = tokens.reply_QxGxC.shape[-1]
            mask_QxGxC = jnp.arange(width) < tokens.reply_length_QxG[..., None]
            total -= jnp.sum(mask_QxGxC * logprob_QxGxC)
            count += jnp.sum(mask_QxGxC)
        return total / count

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(params: nnx.State, opt_state: Any, step: tuple[Tokens, ...]):
        value, grads = jax.value_and_grad(loss)(params, step)
        changes, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, changes), opt_state, value

    for step in steps:
        params, opt_state, value = update(params, opt_state, step)
        yield params, float(value)
