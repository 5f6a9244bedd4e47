"""Qwen2 and Qwen2.5 as Flax NNX modules that hold parameters, and one forward pass for all uses.

Shape letters, used throughout the project:

  B batch rows     Q questions       G group: completions of one question
  T query length   P prompt length   C completion length   S slots of keys and values
  V vocabulary     D hidden          F feed-forward
  N query heads    K key-value heads R = N / K             H head dimension

Text always comes as groups: one prompt, G continuations of it. So a pass has two kinds of keys and
values: the *prefix* of the question, computed once and attended by all G rows, and the rows' *own*.

  prompt        x_Qx1xP                no prefix    own: this pass      -> becomes the prefix
  training      x_QxGxC                prefix       own: this pass, by segments where packed
  decoding      x_QxGx1                prefix       own: a cache of S slots, written in place

Because training reads prompts through the same prefix, the gradient of a shared prompt is computed
once per question (Prefix Grouper, arXiv 2506.05433). Padding stands at the right: causality hides
it from all tokens before it, and the prefix carries its length.

Architecture: Qwen2 technical report, arXiv 2407.10671; the reference is transformers'
`modeling_qwen2.py`. RMSNorm, rotary angles and softmax are computed in float32 whatever the
parameters' dtype; all else in the parameters' dtype.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxswarm.model.attention import Attention, KeyValues, Reach
from jaxswarm.model.config import ModelConfig
from jaxswarm.model.linear import Joined, Linear, in_float32, project
from jaxswarm.model.remat import rematerialised
from jaxswarm.model.sharding import constrain


class Prefix(NamedTuple):
    """What the rows of a group share: each layer's keys and values of the prompt; its length."""

    layers: tuple[KeyValues, ...]
    length_Q: jax.Array


class Segments(NamedTuple):
    """Several continuations of the prompt in one row, each blind to the others."""

    segment_QxGxT: jax.Array
    """int32: tokens of one continuation have the same number, -1 those of none."""
    position_QxGxT: jax.Array
    """int32: of a token in its continuation."""


class Cache(NamedTuple):
    """The rows' own keys and values while decoding; slots up to `slot` are written."""

    layers: tuple[KeyValues, ...]
    slot: jax.Array


class RMSNorm(nnx.Module):
    """Root mean square norm, arXiv 1910.07467."""

    def __init__(self, size: int, eps: float):
        self.scale = nnx.Param(jnp.ones((size,), jnp.float32), axes=("norm",))
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        # The mean of squares loses most of bfloat16's few digits.
        wide = x.astype(jnp.float32)
        wide *= jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + self.eps)
        return in_float32(jnp.multiply, wide.astype(x.dtype), self.scale[...])


@jax.custom_vjp
def look_up(table_VxD: jax.Array, token: jax.Array) -> jax.Array:
    """The tokens' rows [..., D]. The gradient of a row is added up in float32."""
    return table_VxD[token]


def _looked_up(table_VxD: jax.Array, token: jax.Array) -> tuple[jax.Array, Any]:
    return look_up(table_VxD, token), (table_VxD, token)


def _looked_up_gradient(kept: Any, gradient: jax.Array) -> tuple[jax.Array, None]:
    table_VxD, token = kept
    wide_VxD = jnp.zeros_like(table_VxD, jnp.float32).at[token].add(gradient.astype(jnp.float32))
    return wide_VxD.astype(table_VxD.dtype), None


look_up.defvjp(_looked_up, _looked_up_gradient)


class FeedForward(nnx.Module):
    """SwiGLU, arXiv 2002.05202."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        D, F = config.hidden_size, config.intermediate_size
        self.gate = Linear(("ffn", "embed"), (F, D), bias=False, rngs=rngs)
        self.up = Linear(("ffn", "embed"), (F, D), bias=False, rngs=rngs)
        self.down = Linear(("embed", "ffn"), (D, F), bias=False, rngs=rngs)
        self.joined: Joined | None = None

    def join(self) -> None:
        """Makes gate and up one matmul. See `Joined`."""
        self.joined = nnx.data(Joined(self.gate, self.up))

    def __call__(self, x: jax.Array) -> jax.Array:
        gate, up = (self.gate(x), self.up(x)) if self.joined is None else self.joined(x)
        return rematerialised(_gated, gate, up, self.down)


def _gated(gate: jax.Array, up: jax.Array, down: Linear) -> jax.Array:
    """Its values between the matmuls would be three fifths of what the backward pass keeps."""
    return down(jax.nn.silu(gate) * up)


class Block(nnx.Module):
    """One decoder layer, norms before each half."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.attention_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attention = Attention(config, rngs)
        self.feed_forward_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.feed_forward = FeedForward(config, rngs)

    def __call__(
        self, x_QxGxTxD: jax.Array, reach: Reach, *, remat: bool
    ) -> tuple[jax.Array, KeyValues]:
        """`remat`: recompute the weights of attention in the backward pass."""
        mixed, own = self.attention(self.attention_norm(x_QxGxTxD), reach, remat=remat)
        x = constrain(x_QxGxTxD + mixed, "question", None, None, None)
        x += self.feed_forward(self.feed_forward_norm(x))
        return constrain(x, "question", None, None, None), own


def _kept(x: jax.Array, block: Block, reach: Reach) -> tuple[jax.Array, KeyValues]:
    """What matmuls with weights gave is kept, the weights of attention are not."""
    return block(x, reach, remat=True)


def _recomputed(x: jax.Array, block: Block, reach: Reach) -> tuple[jax.Array, KeyValues]:
    """Its second pass is followed by its backward pass: a third would save little memory."""
    return rematerialised(_whole, x, block, reach)


def _whole(x: jax.Array, block: Block, reach: Reach) -> tuple[jax.Array, KeyValues]:
    return block(x, reach, remat=False)


class Qwen2(nnx.Module):
    """The whole model. Parameters are float32 as made here; the caller casts them for its pass."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        V, D = config.vocab_size, config.hidden_size
        init = nnx.initializers.normal(0.02)
        self.embedding = nnx.Param(
            init(rngs.params(), (V, D), jnp.float32), axes=("vocab", "embed")
        )
        self.blocks = nnx.List([Block(config, rngs) for _ in range(config.num_layers)])
        self.norm = RMSNorm(D, config.rms_norm_eps)
        self.head = (
            None
            if config.tie_embeddings
            else Linear(("vocab", "embed"), (V, D), bias=False, rngs=rngs)
        )
        self.config = config

    def __call__(
        self,
        token_QxGxT: jax.Array,
        *,
        prefix: Prefix | None = None,
        cache: Cache | None = None,
        segments: Segments | None = None,
        remat: bool = False,
    ) -> tuple[jax.Array, tuple[KeyValues, ...]]:
        """One pass over T tokens of each row; the table in the module's docstring lists the uses.

        Args:
          token_QxGxT: int32 token ids, padded at the right.
          prefix: the prompt that each row continues; without it rows start at position 0.
          cache: where earlier tokens of the rows are kept; this pass is written at its slot.
          segments: where a row holds several continuations; not with a cache.
          remat: recompute each layer in the backward pass instead of keeping its activations.

        Returns:
          The normed hidden states [Q, G, T, D], and each layer's own keys and values: with a cache
          the updated cache arrays, else those of this pass.
        """
        slot = 0 if cache is None else cache.slot
        start_Q = jnp.zeros(token_QxGxT.shape[0], jnp.int32) if prefix is None else prefix.length_Q
        T = token_QxGxT.shape[2]
        S = T if cache is None else cache.layers[0].keys.shape[3]
        own_mask = (jnp.arange(S) <= slot + jnp.arange(T)[:, None])[None, None]
        if segments is None:
            offset_QxGxT = jnp.broadcast_to(slot + jnp.arange(T), token_QxGxT.shape)
        else:
            assert cache is None
            offset_QxGxT, segment = segments.position_QxGxT, segments.segment_QxGxT
            own_mask &= segment[..., :, None] == segment[..., None, :]
        position_QxGxT = start_Q[:, None, None] + offset_QxGxT
        prefix_mask_QxP = None
        if prefix is not None:
            P = prefix.layers[0].keys.shape[2]
            prefix_mask_QxP = jnp.arange(P) < prefix.length_Q[:, None]
        # Gathered over fsdp first: a row looked up in a table cut both ways would be moved twice.
        table_VxD = constrain(self.embedding[...], "vocab", None)
        x = constrain(look_up(table_VxD, token_QxGxT), "question", None, None, None)
        own_layers = []
        for index, block in enumerate(self.blocks):
            reach = Reach(
                position_QxGxT,
                None if prefix is None else prefix.layers[index],
                prefix_mask_QxP,
                None if cache is None else cache.layers[index],
                slot,
                own_mask,
            )
            x, own = (_recomputed if remat else _kept)(x, block, reach)
            own_layers.append(own)
        return self.norm(x), tuple(own_layers)

    def prompt(self, token_QxP: jax.Array, length_Q: jax.Array, *, remat: bool = False) -> Prefix:
        """Reads each question's prompt once. `length_Q` counts its tokens without the padding."""
        _, layers = self(token_QxP[:, None, :], remat=remat)
        shared = (KeyValues(own.keys[:, :, 0], own.values[:, :, 0]) for own in layers)
        return Prefix(tuple(shared), length_Q)

    def empty_cache(self, questions: int, group: int, slots: int) -> Cache:
        """A cache for `slots` tokens of each row, in the parameters' dtype."""
        config, dtype = self.config, self.embedding[...].dtype
        shape = (questions, config.num_kv_heads, group, slots, config.head_dim)
        layers = tuple(
            KeyValues(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))
            for _ in range(config.num_layers)
        )
        return Cache(layers, jnp.int32(0))

    def join(self) -> None:
        """Makes matmuls of one input one, on a copy of their weights. See `Joined`."""
        for block in self.blocks:
            block.attention.join()
            block.feed_forward.join()

    def unembedding(self) -> jax.Array:
        """The head [V, D]: the embedding itself where they are tied."""
        return self.embedding[...] if self.head is None else self.head.weight[...]

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Float32 logits [..., V] of hidden states [..., D]."""
        return project(hidden, self.unembedding(), dtype=jnp.float32)


def grow(cache: Cache, slots: int) -> Cache:
    """The same cache with more slots; what is written stays where it is."""

    def wider(array: jax.Array) -> jax.Array:
        more = slots - array.shape[3]
        return jnp.pad(array, [(0, 0)] * 3 + [(0, more), (0, 0)])

    return cache._replace(layers=jax.tree.map(wider, cache.layers))


def abstract(config: ModelConfig) -> tuple[nnx.GraphDef, nnx.State]:
    """The model's structure and its parameters' shapes, without allocating any."""
    model = nnx.eval_shape(lambda: Qwen2(config, nnx.Rngs(0)))
    return nnx.split(model)


def cast(params: nnx.State, dtype: jax.typing.DTypeLike) -> nnx.State:
    """The parameters in the dtype of a pass."""
    return jax.tree.map(lambda array: array.astype(dtype), params)
