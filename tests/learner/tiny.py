"""A model small enough to compile in seconds, and batches for it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxswarm.learner.train_step import Batch, GRPOConfig
from jaxswarm.model.qwen2 import Qwen2
from tests.model import tiny_config

# No other axis of these models has the size of the vocabulary.
CONFIG = dataclasses.replace(tiny_config.CONFIG, vocab_size=96)
PROMPT_QxP = np.random.default_rng(0).integers(0, 96, (4, 12)).astype(np.int32)
LENGTH_Q = np.array([12, 5, 1, 8], np.int32)


def model() -> Qwen2:
    """Weights large enough that tokens differ in likelihood."""
    made = Qwen2(CONFIG, nnx.Rngs(0))
    graph, params = nnx.split(made)
    return nnx.merge(graph, jax.tree.map(lambda w: w * 5 if w.ndim > 1 else w, params))


def grpo(**changes) -> GRPOConfig:
    settings = {
        "loss": "dapo",
        "advantage_scale": "none",
        "beta": 0.0,
        "eps_low": 0.2,
        "eps_high": 0.28,
        "updates": 1,
        "micro_batches": 1,
        "temperature": 1.0,
        "limit": 10,
        "vocab_slice": 40,
        "remat": False,
        "dtype": "float32",
    }
    return GRPOConfig(**(settings | changes))


def plain_logprobs(
    made: Qwen2, token_QxGxC: np.ndarray | jax.Array, temperature: float = 1.0
) -> jax.Array:
    """Log-probabilities [Q, G, C, V] at completions' positions.

    One plain pass over each row by itself, prompt and completion in one sequence: no shared
    prompt, no cache, no chunks.
    """
    Q, G, C = token_QxGxC.shape
    P = PROMPT_QxP.shape[1]
    row_QxGxT = np.zeros((Q, G, P + C), np.int32)
    for q in range(Q):
        n = LENGTH_Q[q]
        row_QxGxT[q, :, :n] = PROMPT_QxP[q, :n]
        row_QxGxT[q, :, n : n + C] = token_QxGxC[q]
    hidden, _ = made(row_QxGxT.reshape(Q * G, 1, P + C))
    logits = made.logits(hidden).reshape(Q, G, P + C, -1) / temperature
    at_QxC = LENGTH_Q[:, None] - 1 + np.arange(C)
    picked = jnp.take_along_axis(logits, at_QxC[:, None, :, None], axis=2)
    return jax.nn.log_softmax(picked)


def chosen(logprob_QxGxCxV: jax.Array, token_QxGxC: np.ndarray) -> jax.Array:
    """Those of the given tokens, [Q, G, C]."""
    return jnp.take_along_axis(logprob_QxGxCxV, token_QxGxC[..., None], axis=-1)[..., 0]


def batch(made: Qwen2, group: int = 4, width: int = 10, seed: int = 1) -> Batch[np.ndarray]:
    """Random completions of random lengths with random rewards, old log-probs a little off."""
    rng = np.random.default_rng(seed)
    token_QxGxC = rng.integers(0, 96, (4, group, width)).astype(np.int32)
    length_QxG = rng.integers(1, width + 1, (4, group)).astype(np.int32)
    exact = jax.jit(lambda: chosen(plain_logprobs(made, token_QxGxC), token_QxGxC))()
    off = rng.normal(scale=0.2, size=exact.shape).astype(np.float32)
    reward_QxG = rng.normal(size=(4, group)).astype(np.float32)
    external_QxG = np.zeros((4, group), bool)
    return Batch(
        PROMPT_QxP,
        LENGTH_Q,
        token_QxGxC,
        length_QxG,
        np.asarray(exact) + off,
        reward_QxG,
        external_QxG,
    )
