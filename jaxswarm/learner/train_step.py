"""One GRPO update as a pure function: micro-batches, one or more updates, one program."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxswarm.errors import InputError
from jaxswarm.learner import grpo
from jaxswarm.learner.logprobs import completion_logprobs
from jaxswarm.learner.packing import Packing
from jaxswarm.learner.profile import LOGPROBS, OPTIMIZER, REFERENCE
from jaxswarm.model import qwen2
from jaxswarm.model.sharding import question_ways, split_questions


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
    several devices there may be fewer, see `pieces`."""
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


class Batch(NamedTuple):
    """A rollout with its rewards, on the host or on the devices."""

    prompt_QxP: jax.Array
    prompt_length_Q: jax.Array
    token_QxGxC: jax.Array
    length_QxG: jax.Array
    logprob_QxGxC: jax.Array
    """The sampler's; NaN where another model drew the token."""
    reward_QxG: jax.Array
    packing: Packing | None = None
    """Of the completions into fewer rows, for the passes that learn. Only where micro-batches cut
    no group."""


class _Rows(NamedTuple):
    """What the loss reads of a batch or of one of its micro-batches."""

    prompt_QxP: jax.Array
    prompt_length_Q: jax.Array
    token_QxGxC: jax.Array
    old_logprob_QxGxC: jax.Array
    advantage_QxG: jax.Array
    weight_QxGxC: jax.Array
    share_QxGxC: jax.Array
    """1 / tokens of the whole batch, 0 past a completion's length: for means of metrics."""
    packing: Packing | None


class StepMetrics(NamedTuple):
    """Float32 scalars, means over the tokens of the batch, of the last update on it."""

    loss: jax.Array
    kl: jax.Array
    clip_fraction: jax.Array
    entropy: jax.Array
    sampler_gap: jax.Array
    """Mean |log-prob here - the sampler's|: on a first update, what the two programs differ by."""
    grad_norm: jax.Array
    """Before the clip."""


class Pieces(NamedTuple):
    """How a batch is cut into micro-batches."""

    by_question: int
    by_group: int

    @property
    def count(self) -> int:
        return self.by_question * self.by_group


def pieces(micro_batches: int, questions: int, ways: int) -> Pieces:
    """Cuts by questions first, and inside the groups what the batch has too few questions for.

    Where devices share the questions, each piece must have some of each device's: a piece that
    can't be divided among them would be computed by all. So there are fewer pieces, and yet no
    device has more of the batch in memory at a time than a single one would have.

    Args:
      micro_batches: as asked for.
      questions: of the batch.
      ways: parts that the devices cut the questions into: `sharding.question_ways`.
    """
    by_group = micro_batches // math.gcd(micro_batches, questions)
    return Pieces(math.gcd(micro_batches, questions // ways), by_group)


def check_micro_batches(micro_batches: int, questions: int, group: int, *, is_packed: bool) -> None:
    """Says at the start that a batch can be cut so, on however many devices.

    Raises:
      InputError: it can't.
    """
    by_group = pieces(micro_batches, questions, ways=1).by_group
    if group % by_group:
        raise InputError(
            "grpo.micro_batches",
            got=micro_batches,
            expected=f"a number that cuts {questions} questions x {group} completions evenly",
            remedy="set --config.grpo.micro_batches",
        )
    if is_packed and by_group > 1:
        raise InputError(
            "grpo.micro_batches",
            got=micro_batches,
            expected=f"a divisor of {questions} questions: packed completions can't be cut apart",
            remedy="set --config.grpo.micro_batches, or --config.grpo.row_buckets='()'",
        )


def _micro_batches(rows: _Rows, cut_into: Pieces) -> _Rows:
    """The same rows with a leading axis of pieces, each a whole grid of questions x group."""
    Q, G = rows.advantage_QxG.shape
    by_question, by_group = cut_into

    assert rows.packing is None or by_group == 1, "a packed group can't be cut"

    def cut(array: jax.Array, *, grouped: bool) -> jax.Array:
        array = split_questions(array, by_question)
        if not grouped:
            return jnp.repeat(array, by_group, axis=0)
        array = array.reshape(*array.shape[:2], by_group, G // by_group, *array.shape[3:])
        return array.swapaxes(1, 2).reshape(cut_into.count, Q // by_question, *array.shape[3:])

    grids = {
        name: cut(array, grouped=not name.startswith("prompt"))
        for name, array in rows._asdict().items()
        if name != "packing"
    }
    return _Rows(
        **grids, packing=jax.tree.map(partial(split_questions, pieces=by_question), rows.packing)
    )


def train_step(
    graph: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    config: GRPOConfig,
    state: TrainState,
    reference: nnx.State | None,
    batch: Batch,
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
    Q, _, C = batch.token_QxGxC.shape
    cut_into = pieces(config.micro_batches, Q, question_ways(Q))

    def logprobs(params: nnx.State, rows: _Rows, *, remat: bool) -> tuple[jax.Array, jax.Array]:
        return completion_logprobs(
            nnx.merge(graph, qwen2.cast(params, config.dtype)),
            rows.prompt_QxP,
            rows.prompt_length_Q,
            rows.token_QxGxC,
            rows.packing,
            temperature=config.temperature,
            vocab_slice=config.vocab_slice,
            remat=remat,
        )

    def loss(params: nnx.State, rows: _Rows) -> tuple[jax.Array, StepMetrics]:
        with jax.named_scope(LOGPROBS):
            logprob, entropy = logprobs(params, rows, remat=config.remat)
        reference_logprob = None
        if reference is not None:
            with jax.named_scope(REFERENCE):
                reference_logprob, _ = logprobs(reference, rows, remat=False)
        token = grpo.token_loss(
            logprob,
            rows.old_logprob_QxGxC,
            reference_logprob,
            rows.advantage_QxG,
            eps_low=config.eps_low,
            eps_high=config.eps_high,
            beta=config.beta,
        )
        total = jnp.sum(rows.weight_QxGxC * token.loss)

        def mean(values: jax.Array) -> jax.Array:
            return jnp.sum(rows.share_QxGxC * values)

        return total, StepMetrics(
            loss=total,
            kl=mean(token.kl),
            clip_fraction=mean(token.clipped),
            entropy=mean(entropy),
            sampler_gap=jnp.nansum(rows.share_QxGxC * jnp.abs(logprob - rows.old_logprob_QxGxC)),
            grad_norm=jnp.float32(0),
        )

    def gradient(params: nnx.State, rows: _Rows) -> tuple[nnx.State, StepMetrics]:
        one = jax.grad(loss, has_aux=True)
        if cut_into.count == 1:
            return one(params, rows)

        def add(so_far: Any, piece: _Rows) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, so_far, one(params, piece)), None

        no_metrics = StepMetrics(*[jnp.float32(0)] * len(StepMetrics._fields))
        zeros = jax.tree.map(jnp.zeros_like, params), no_metrics
        total, _ = jax.lax.scan(add, zeros, _micro_batches(rows, cut_into))
        return total

    advantage_QxG = grpo.advantages(batch.reward_QxG, config.advantage_scale)
    weight_QxGxC = grpo.token_weights(batch.length_QxG, C, config.limit, config.loss)
    rows = _Rows(
        batch.prompt_QxP,
        batch.prompt_length_Q,
        batch.token_QxGxC,
        batch.logprob_QxGxC,
        advantage_QxG,
        weight_QxGxC * grpo.teaches(batch.logprob_QxGxC, advantage_QxG),
        grpo.token_weights(batch.length_QxG, C, config.limit, "dapo"),
        batch.packing,
    )

    def update(state: TrainState, _: None) -> tuple[TrainState, StepMetrics]:
        grads, metrics = gradient(state.params, rows)
        with jax.named_scope(OPTIMIZER):
            changes, opt_state = optimizer.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, changes)
            metrics = metrics._replace(grad_norm=optax.global_norm(grads))
        return TrainState(params, opt_state, state.step + 1), metrics

    if config.updates == 1:
        return update(state, None)
    state, metrics = jax.lax.scan(update, state, None, length=config.updates)
    return state, jax.tree.map(lambda values: values[-1], metrics)
