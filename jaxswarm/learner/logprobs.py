"""Log-probabilities of given completions, without ever holding [Q, G, C, V]."""

import jax
import jax.numpy as jnp

from jaxswarm.learner.generate import split_last
from jaxswarm.learner.vocabulary import token_logprobs
from jaxswarm.model.qwen2 import Prefix, Qwen2


def completion_logprobs(
    model: Qwen2,
    prompt_QxP: jax.Array,
    prompt_length_Q: jax.Array,
    token_QxGxC: jax.Array,
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
      temperature: divides the logits, as it did when the tokens were drawn.
      vocab_slice: bounds the memory of the logits: Q * G * C * vocab_slice * 4 bytes, some of it
        twice.
      remat: keep each layer's input alone for the backward pass.

    Returns:
      logprob_QxGxC and entropy_QxGxC, float32, the latter without gradient.
    """
    Q, G, _ = token_QxGxC.shape
    last_Q, before_Q = split_last(prompt_QxP, prompt_length_Q)
    prefix = Prefix(model.prompt(prompt_QxP, prompt_length_Q, remat=remat).layers, before_Q)
    first_QxGx1 = jnp.broadcast_to(last_Q[:, None, None], (Q, G, 1))
    input_QxGxC = jnp.concatenate([first_QxGx1, token_QxGxC[:, :, :-1]], axis=-1)
    hidden_QxGxCxD, _ = model(input_QxGxC, prefix=prefix, remat=remat)

    return token_logprobs(
        hidden_QxGxCxD,
        model.unembedding(),
        token_QxGxC,
        vocab_slice=vocab_slice,
        temperature=temperature,
    )
