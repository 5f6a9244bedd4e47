"""Log-probabilities of given completions, without ever holding [Q, G, C, V]."""

import jax
import jax.numpy as jnp

from jaxswarm.learner.generate import split_last
from jaxswarm.learner.packing import Packing
from jaxswarm.learner.vocabulary import token_logprobs
from jaxswarm.model.qwen2 import Prefix, Qwen2, Segments


def completion_logprobs(
    model: Qwen2,
    prompt_QxP: jax.Array,
    prompt_length_Q: jax.Array,
    token_QxGxC: jax.Array,
    packing: Packing[jax.Array] | None = None,
    *,
    temperature: float,
    vocab_slice: int,
    remat: bool,
) -> tuple[jax.Array, jax.Array]:
    """What the model gives each token of each completion.

    The prompt is read once per question, as in generation; logits are built for completion
    positions only, for a slice of the vocabulary at a time.

    Args:
      model: parameters in the dtype to compute in.
      prompt_QxP: int32, padded at the right.
      prompt_length_Q: int32, at least 1.
      token_QxGxC: int32; what stands past a completion's length gives values to be masked.
      packing: where it is given, the pass computes its rows; the result is a grid all the same.
      temperature: divides the logits, as it did when the tokens were drawn.
      vocab_slice: bounds the memory of the logits: Q * G * C * vocab_slice * 4 bytes, some of it
        twice.
      remat: keep each layer's input alone for the backward pass.

    Returns:
      logprob_QxGxC and entropy_QxGxC, float32, the latter without gradient.
    """
    C = token_QxGxC.shape[2]
    last_Q, before_Q = split_last(prompt_QxP, prompt_length_Q)
    prefix = Prefix(model.prompt(prompt_QxP, prompt_length_Q, remat=remat).layers, before_Q)
    last_Qx1x1 = last_Q[:, None, None]
    if packing is None:
        target, segments = token_QxGxC, None
        first = jnp.arange(C) == 0
    else:
        is_used, source = packing.source_QxRxS >= 0, jnp.maximum(packing.source_QxRxS, 0)
        target = _take(token_QxGxC, source)
        segments = Segments(jnp.where(is_used, source // C, -1), source % C)
        first = segments.position_QxGxT == 0
    read = jnp.where(first, last_Qx1x1, jnp.roll(target, 1, axis=-1))
    hidden, _ = model(read, prefix=prefix, segments=segments, remat=remat)
    of_rows = token_logprobs(
        hidden,
        model.unembedding(),
        target,
        vocab_slice=vocab_slice,
        temperature=temperature,
    )
    if packing is None:
        return of_rows
    # Past a completion's end this reads a neighbour's values, which are masked like padding's.
    slot_QxGxC = packing.first_QxG[..., None] + jnp.arange(C)
    logprob, entropy = (_take(values, slot_QxGxC) for values in of_rows)
    return logprob, entropy


def _take(values: jax.Array, index: jax.Array) -> jax.Array:
    """values [Q, ...] by indices [Q, ...] into all of a question's; past the end, the last one."""
    flat = values.reshape(len(values), -1)
    within = jnp.minimum(index, flat.shape[1] - 1).reshape(len(index), -1)
    return jnp.take_along_axis(flat, within, axis=1).reshape(index.shape)
