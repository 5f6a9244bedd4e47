"""Log-probabilities of given completions, without ever holding [Q, G, C, V]."""

import math

import jax
import jax.numpy as jnp

from jaxswarm.learner.generate import split_last
from jaxswarm.model.qwen2 import Prefix, Qwen2


def completion_logprobs(
    model: Qwen2,
    prompt_QxP: jax.Array,
    prompt_length_Q: jax.Array,
    token_QxGxC: jax.Array,
    *,
    temperature: float,
    chunk_tokens: int,
    remat: bool,
) -> tuple[jax.Array, jax.Array]:
    """What the model gives each token of each completion.

    The prompt is read once per question, as in generation; logits are built for completion
    positions only, `chunk_tokens` of them at a time, and built again in the backward pass.

    Args:
      model: parameters in the dtype to compute in.
      prompt_QxP: int32, padded at the right.
      prompt_length_Q: int32, at least 1.
      token_QxGxC: int32; what stands past a completion's length gives values to be masked.
      temperature: divides the logits, as it did when the tokens were drawn.
      chunk_tokens: bounds the memory of the logits: chunk_tokens * V * 4 bytes, some of it twice.
      remat: keep each layer's input alone for the backward pass.

    Returns:
      logprob_QxGxC and entropy_QxGxC, float32, the latter without gradient.
    """
    Q, G, C = token_QxGxC.shape
    last_Q, before_Q = split_last(prompt_QxP, prompt_length_Q)
    prefix = Prefix(model.prompt(prompt_QxP, prompt_length_Q, remat=remat).layers, before_Q)
    first_QxGx1 = jnp.broadcast_to(last_Q[:, None, None], (Q, G, 1))
    input_QxGxC = jnp.concatenate([first_QxGx1, token_QxGxC[:, :, :-1]], axis=-1)
    hidden_QxGxCxD, _ = model(input_QxGxC, prefix=prefix, remat=remat)

    # Chunks are cut along C, so that each holds a piece of every question: questions are what lies
    # on different devices.
    chunks = math.ceil(Q * G * C / chunk_tokens)
    width = math.ceil(C / chunks)
    chunks = math.ceil(C / width)
    spare = chunks * width - C

    def cut(array: jax.Array) -> jax.Array:
        padded = jnp.pad(array, [(0, 0), (0, 0), (0, spare), *[(0, 0)] * (array.ndim - 3)])
        return jnp.moveaxis(padded.reshape(Q, G, chunks, width, *array.shape[3:]), 2, 0)

    @jax.checkpoint
    def of_chunk(piece: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        hidden, token = piece
        logits = model.logits(hidden) / temperature
        total = jax.nn.logsumexp(logits, axis=-1)
        chosen = jnp.take_along_axis(logits, token[..., None], axis=-1)[..., 0]
        fixed = jax.lax.stop_gradient(logits)
        entropy = total - jnp.sum(jax.nn.softmax(fixed, axis=-1) * fixed, axis=-1)
        return chosen - total, jax.lax.stop_gradient(entropy)

    pieces = jax.lax.map(of_chunk, (cut(hidden_QxGxCxD), cut(token_QxGxC)))
    logprob, entropy = (jnp.moveaxis(part, 0, 2).reshape(Q, G, -1)[:, :, :C] for part in pieces)
    return logprob, entropy
