"""One GRPO update as a pure function: micro-batches, one or more updates, one program."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxswarm.errors import InputError
from jaxswarm.learner import grpo, micro_batches
from jaxswarm.learner.arrays import A
from jaxswarm.learner.logprobs import completion_logprobs
from jaxswarm.learner.micro_batches import Pieces, Rows
from jaxswarm.learner.packing import Packing
from jaxswarm.learner.profile import LOGPROBS, OPTIMIZER, REFERENCE
from jaxswarm.model import qwen2
from jaxswarm.model.sharding import ways_along


@dataclass(frozen=True, slots=True)
class GRPOConfig:
    """What the step is made of. `jaxswarm.learner.grpo` has the equations and their names."""

    loss: str
    advantage_scale: str
    beta: float
    """Weight of the KL term; 0: no reference is held in memory."""
    eps_low: float
    eps_high: float
    updates: int
    """Optimizer updates on each batch."""
    micro_batches: int
    """Pieces of the batch whose gradients are added up before an update, to bound memory; on
    several devices there may be fewer, see `micro_batches.pieces`."""
    temperature: float
    """That of the sampler."""
    limit: int
    """Longest completion, in tokens, that the sampler draws."""
    vocab_slice: int
    """Tokens of the vocabulary whose logits are in memory at a time, for all completions."""
    remat: bool
    """Recompute the layers in the backward pass: less memory, a quarter more work."""
    dtype: str
    """Of the weights in matmuls: "bfloat16" or "float32". The master copy is float32."""

    def __post_init__(self) -> None:
        for name, got, ok, expected in (
            ("loss", self.loss, self.loss in grpo.LOSSES, f"one of {grpo.LOSSES}"),
            (
                "advantage_scale",
                self.advantage_scale,
                self.advantage_scale in grpo.ADVANTAGE_SCALES,
                f"one of {grpo.ADVANTAGE_SCALES}",
            ),
            ("beta", self.beta, self.beta >= 0, "0 or more"),
            ("updates", self.updates, self.updates >= 1, "1 or more"),
            ("micro_batches", self.micro_batches, self.micro_batches >= 1, "1 or more"),
            ("vocab_slice", self.vocab_slice, self.vocab_slice >= 1, "1 or more"),
        ):
            if not ok:
                raise InputError(
                    f"grpo.{name}", got=got, expected=expected, remedy=f"set --config.grpo.{name}"
                )


class TrainState(NamedTuple):
    """What learning changes, and what a checkpoint holds."""

    params: Any
    """The `nnx.State` of the model, float32."""
    opt_state: Any
    step: jax.Array
    """Optimizer updates done."""


class Batch(NamedTuple, Generic[A]):
    """A rollout with its rewards."""

    prompt_QxP: A
    """int32, padded at the right."""
    prompt_length_Q: A
    """int32, at least 1."""
    token_QxGxC: A
    """int32; what stands past a completion's length is not learnt from."""
    length_QxG: A
    """int32; 0 for a row that only fills up the batch."""
    logprob_QxGxC: A
    """float32, the sampler's; not read of a completion that another model drew."""
    reward_QxG: A
    """float32."""
    external_QxG: A
    """bool: another model drew the completion."""
    packing: Packing[A] | None = None
    """Of the completions into fewer rows, for the passes that learn. Only where micro-batches cut
    no group."""


class StepMetrics(NamedTuple):
    """Float32 scalars, means over the tokens that have a part in the loss, of the last update.

    Where β is 0, tokens of a group without variance have none. Means of no tokens are 0.
    """

    loss: jax.Array
    kl: jax.Array
    """To the reference, over the tokens that the sampler drew; 0 where it drew none."""
    clip_fraction: jax.Array
    entropy: jax.Array
    sampler_gap: jax.Array
    """Mean |log-prob here - the sampler's| over the tokens that it drew, 0 where it drew none: on a
    first update, what the two programs differ by."""
    grad_norm: jax.Array
    """Before the clip. Not finite: the optimizer took zero in its place."""


def train_step(
    graph: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    config: GRPOConfig,
    state: TrainState,
    reference: nnx.State | None,
    batch: Batch[jax.Array],
) -> tuple[TrainState, StepMetrics]:
    """Learns from one batch.

    Args:
      graph: the model's structure, from `nnx.split`.
      optimizer: from `jaxswarm.learner.optimizer`.
      config: static.
      state: donated by the caller's jit.
      reference: parameters of the fixed reference in `config.dtype`; None when beta is 0.
      batch: [Q, G, C] grids; see `Batch`.
    """
    assert (reference is None) == (config.beta == 0)
    Q = batch.token_QxGxC.shape[0]
    cut_into = micro_batches.pieces(config.micro_batches, Q, ways_along("question", Q))
    rows = _rows(config, batch)
    all_per_own = _all_per_own(rows)

    def loss(params: nnx.State, rows: Rows) -> tuple[jax.Array, StepMetrics]:
        return _loss(graph, config, params, reference, rows)

    def update(state: TrainState, _: None) -> tuple[TrainState, StepMetrics]:
        grads, metrics = _gradient(loss, qwen2.cast(state.params, config.dtype), rows, cut_into)
        with jax.named_scope(OPTIMIZER):
            changes, opt_state = optimizer.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, changes)
            metrics = metrics._replace(
                grad_norm=optax.global_norm(grads),
                kl=metrics.kl * all_per_own,
                sampler_gap=metrics.sampler_gap * all_per_own,
            )
        return TrainState(params, opt_state, state.step + 1), metrics

    if config.updates == 1:
        return update(state, None)
    state, metrics = jax.lax.scan(update, state, None, length=config.updates)
    return state, jax.tree.map(lambda values: values[-1], metrics)


def _rows(config: GRPOConfig, batch: Batch[jax.Array]) -> Rows:
    """What of a batch stays the same over all updates on it."""
    C = batch.token_QxGxC.shape[-1]
    advantage_QxG = grpo.advantages(batch.reward_QxG, config.advantage_scale, batch.length_QxG > 0)
    teaches_QxG = grpo.teaches(batch.external_QxG, advantage_QxG)
    length_QxG = jnp.where(teaches_QxG, batch.length_QxG, 0)
    # Without a reference to stay near, a group without variance teaches nothing; fillers never do.
    has_variance_Q = (config.beta > 0) | ~grpo.is_uniform(batch.reward_QxG)
    learnt_Q = has_variance_Q & jnp.any(length_QxG > 0, axis=1)
    learnt_length_QxG = jnp.where(learnt_Q[:, None], length_QxG, 0)
    return Rows(
        batch.prompt_QxP,
        batch.prompt_length_Q,
        learnt_Q,
        batch.token_QxGxC,
        batch.logprob_QxGxC,
        advantage_QxG,
        batch.external_QxG,
        grpo.token_weights(length_QxG, C, config.limit, config.loss),
        grpo.token_weights(learnt_length_QxG, C, config.limit, "dapo"),
        batch.packing,
    )


def _all_per_own(rows: Rows) -> jax.Array:
    """Tokens that have a part in the loss, per token of them that the sampler drew.

    It makes a mean over the first, with zeros for the others, one over the second.
    """
    has_part_QxGxC = rows.share_QxGxC > 0
    own_QxGxC = has_part_QxGxC & ~rows.external_QxG[..., None]
    return jnp.sum(has_part_QxGxC) / jnp.maximum(jnp.sum(own_QxGxC), 1)


def _loss(
    graph: nnx.GraphDef,
    config: GRPOConfig,
    params: nnx.State,
    reference: nnx.State | None,
    rows: Rows,
) -> tuple[jax.Array, StepMetrics]:
    """The rows' part of the batch's loss, and of the means that are its metrics.

    `params` are in `config.dtype`, as the reference's.
    """

    def logprobs(params: nnx.State, *, remat: bool) -> tuple[jax.Array, jax.Array]:
        return completion_logprobs(
            nnx.merge(graph, params),
            rows.prompt_QxP,
            rows.prompt_length_Q,
            rows.token_QxGxC,
            rows.packing,
            temperature=config.temperature,
            vocab_slice=config.vocab_slice,
            remat=remat,
        )

    with jax.named_scope(LOGPROBS):
        logprob, entropy = logprobs(params, remat=config.remat)
    reference_logprob = None
    if reference is not None:
        with jax.named_scope(REFERENCE):
            reference_logprob, _ = logprobs(reference, remat=False)
    token = grpo.token_loss(
        logprob,
        rows.old_logprob_QxGxC,
        reference_logprob,
        rows.advantage_QxG,
        rows.external_QxG,
        eps_low=config.eps_low,
        eps_high=config.eps_high,
        beta=config.beta,
    )
    total = jnp.sum(rows.weight_QxGxC * token.loss)

    gap_QxGxC = jnp.abs(logprob - rows.old_logprob_QxGxC)
    own_gap_QxGxC = jnp.where(rows.external_QxG[..., None], 0.0, gap_QxGxC)

    def mean(values: jax.Array) -> jax.Array:
        return jnp.sum(rows.share_QxGxC * values)

    return total, StepMetrics(
        loss=total,
        kl=mean(token.kl),
        clip_fraction=mean(token.clipped),
        entropy=mean(entropy),
        sampler_gap=mean(own_gap_QxGxC),
        grad_norm=jnp.float32(0),
    )


def _gradient(
    loss: Callable[[nnx.State, Rows], tuple[jax.Array, StepMetrics]],
    params: nnx.State,
    rows: Rows,
    cut_into: Pieces,
) -> tuple[nnx.State, StepMetrics]:
    """Of the whole batch, in float32, with one piece at a time in memory.

    `params` come in the dtype of the pass: cast in here, they would be cast for each piece.
    `rows.learnt_Q` tells what counts; a piece of which nothing does is not computed.
    """
    one = jax.grad(loss, has_aux=True)
    if cut_into.count == 1:
        grads, metrics = one(params, rows)
        return qwen2.cast(grads, jnp.float32), metrics

    pieces = micro_batches.cut(rows, cut_into)
    is_learnt_M = jnp.any(pieces.learnt_Q, axis=1)
    first_M = jnp.argsort(~is_learnt_M, stable=True)

    def add(index: jax.Array, so_far: Any) -> Any:
        piece = jax.tree.map(lambda array: array[first_M[index]], pieces)
        return jax.tree.map(jnp.add, so_far, one(params, piece))

    no_metrics = StepMetrics(*[jnp.float32(0)] * len(StepMetrics._fields))
    zeros = jax.tree.map(partial(jnp.zeros_like, dtype=jnp.float32), params), no_metrics
    return jax.lax.fori_loop(0, jnp.sum(is_learnt_M), add, zeros)
