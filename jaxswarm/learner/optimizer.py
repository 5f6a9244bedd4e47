"""AdamW with a warm-up and a global gradient clip."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from jaxswarm.errors import InputError

SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """One optimizer and one schedule for all stages and rounds. Steps are optimizer updates."""

    learning_rate: float
    schedule: str
    """After the warm-up: "constant", or "cosine" down to 0 at `total_steps`."""
    warmup_steps: int
    total_steps: int
    clip_norm: float
    """The gradient's global norm is cut down to this."""
    weight_decay: float
    b1: float
    b2: float

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise InputError(
                "optimizer.schedule",
                got=self.schedule,
                expected=f"one of {SCHEDULES}",
                remedy="set --config.optimizer.schedule",
            )


def learning_rate(config: OptimizerConfig) -> optax.Schedule:
    """The learning rate as a function of the updates done."""
    after = max(config.total_steps - config.warmup_steps, 1)
    main = (
        optax.cosine_decay_schedule(config.learning_rate, after)
        if config.schedule == "cosine"
        else optax.constant_schedule(config.learning_rate)
    )
    if config.warmup_steps == 0:
        return main
    # The first update is not wasted on a rate of 0.
    warmup = optax.linear_schedule(
        config.learning_rate / config.warmup_steps, config.learning_rate, config.warmup_steps - 1
    )
    return optax.join_schedules([warmup, main], [config.warmup_steps])


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Clip, then AdamW (arXiv 1711.05101). Its moments take the parameters' dtype: float32.

    A gradient that is not finite counts as zero: it leaves the moments and parameters finite.
    """
    return optax.chain(
        _clip_by_global_norm(config.clip_norm),
        optax.adamw(
            learning_rate(config), b1=config.b1, b2=config.b2, weight_decay=config.weight_decay
        ),
    )


def _clip_by_global_norm(norm: float) -> optax.GradientTransformation:
    """What optax's transformation of that name does, in a form that needs no copy of the gradients.

    Optax divides each gradient by the norm and then chooses; XLA keeps those quotients, one more
    copy of the parameters at the step's peak. One factor for all is multiplied in where it is used.

    And zero in the place of gradients that are not finite: to keep the old state instead, XLA on
    CPUs would have the moments in memory twice.
    """

    def init(params: optax.Params) -> optax.EmptyState:
        del params
        return optax.EmptyState()

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        del params
        found = optax.global_norm(updates)
        factor, is_finite = jnp.minimum(1.0, norm / found), jnp.isfinite(found)
        return jax.tree.map(lambda each: jnp.where(is_finite, each * factor, 0), updates), state

    return optax.GradientTransformation(init, update)
