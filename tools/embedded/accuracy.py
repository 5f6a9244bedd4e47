"""How many word problems a model in training gets right, greedily and sampled."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxswarm.learner.generate import generate
from jaxswarm.learner.sampling import Sampling
from jaxswarm.records import Stage
from jaxswarm.stages.answers import is_correct
from tools.embedded.problems import Problem
from tools.embedded.supervised import SHAPES, pad
from tools.embedded.tokenizer import Words

Accuracy = Callable[[nnx.State, Sequence[Problem], Sampling, int], float]


def measure(graph: nnx.GraphDef, words: Words) -> Accuracy:
    """Gives a function of (parameters, problems, sampling, samples a problem) to pass@1 in [0, 1].

    Its program compiles once for each number of problems, sampling and number of samples.
    """
    shape = SHAPES[Stage.ANSWER]

    @partial(jax.jit, static_argnames=("group", "sampling"))
    def answers(
        params: nnx.State,
        prompt_QxP: jax.Array,
        length_Q: jax.Array,
        group: int,
        sampling: Sampling,
    ) -> tuple[jax.Array, jax.Array]:
        rollout = generate(
            nnx.merge(graph, params),
            prompt_QxP,
            length_Q,
            jnp.full((len(length_Q), group), shape.reply_width, jnp.int32),
            jax.random.key(0),
            limit=shape.reply_width,
            sampling=sampling,
            stop_tokens=(words.turn_end,),
        )
        return rollout.token_QxGxC, rollout.length_QxG

    def accuracy(
        params: nnx.State, problems: Sequence[Problem], sampling: Sampling, samples: int
    ) -> float:
        chats = [[{"role": "user", "content": problem.question}] for problem in problems]
        prompt_QxP, length_Q = pad([words.prompt(chat) for chat in chats], shape.prompt_width)
        tokens, lengths = jax.device_get(answers(params, prompt_QxP, length_Q, samples, sampling))
        right = [
            is_correct(words.text(row[:length]), str(problem.answer))
            for problem, rows, row_lengths in zip(problems, tokens, lengths, strict=True)
            for row, length in zip(rows, row_lengths, strict=True)
        ]
        return float(np.mean(right))

    return accuracy
