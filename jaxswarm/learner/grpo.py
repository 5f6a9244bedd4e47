"""Group Relative Policy Optimization as functions of arrays.

For a question q the old policy draws G completions oᵢ with rewards rᵢ. With the token's importance
ratio ρᵢₜ = π(oᵢₜ|q,oᵢ,<ₜ) / π_old(oᵢₜ|q,oᵢ,<ₜ) and the completion's advantage Aᵢ, each token costs

  ℓᵢₜ = − min(ρᵢₜ Aᵢ, clip(ρᵢₜ, 1−ε_low, 1+ε_high) Aᵢ) + β Dᵢₜ
  Dᵢₜ = π_ref/π − log(π_ref/π) − 1

as in DeepSeekMath (arXiv 2402.03300, its eq. 3 and 4; Dᵢₜ is the "k3" estimator of the KL).
ε_low = ε_high in the original; a wider upper side is DAPO's "clip higher", arXiv 2503.14476.

  advantage    Aᵢ = (rᵢ − mean of the group) / scale
    group      scale = the group's standard deviation + 1e-4            DeepSeekMath
    batch      scale = that of all rewards of the batch + 1e-4          arXiv 2508.08221
    none       scale = 1                                                Dr. GRPO, arXiv 2503.20783
  loss         Σᵢₜ wᵢₜ ℓᵢₜ over the batch's N completions, wᵢₜ being
    grpo       1 / (N |oᵢ|)              mean over tokens, then completions     DeepSeekMath
    dr_grpo    1 / (N · limit)           a constant: no bias by length          Dr. GRPO
    dapo       1 / Σⱼ|oⱼ|                mean over all tokens of the batch      DAPO

Completions of other models can stand in a group; with what probability they were drawn is not
known. Those better than their group's mean are learnt from with ρ = 1 at each update, and without
Dᵢₜ: a likelihood ratio would weigh least what this model does not know yet. The others count in the
mean and the scale of rewards alone, and neither in N nor in |oⱼ|: to push down what this model
would not say drives it anywhere.

Deviations, all on purpose: standard deviations are those of a sample (n−1), as in TRL, so that
runs compare; a group whose rewards are all equal has advantage exactly 0 whatever the scale; π_old
is the sampler's own log-probability, not a second pass, so that what truncation or a lower
precision did to the sample enters the ratio.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

LOSSES = ("grpo", "dr_grpo", "dapo")
ADVANTAGE_SCALES = ("group", "batch", "none")
_EPSILON = 1e-4


def is_uniform(reward_QxG: jax.Array) -> jax.Array:
    """[Q] bool: all rewards of the group are equal, so it teaches nothing."""
    return jnp.max(reward_QxG, axis=1) == jnp.min(reward_QxG, axis=1)


def advantages(reward_QxG: jax.Array, scale: str, counts_QxG: jax.Array | None = None) -> jax.Array:
    """[Q, G] float32.

    Args:
      reward_QxG: of each completion.
      scale: one of `ADVANTAGE_SCALES`.
      counts_QxG: bool, False for a row that only fills up the batch; None: there is none.
    """
    reward_QxG = reward_QxG.astype(jnp.float32)
    centred_QxG = reward_QxG - jnp.mean(reward_QxG, axis=1, keepdims=True)
    # Rounding leaves a uniform group a little off its mean, and a scale near 0 would blow that up.
    centred_QxG = jnp.where(is_uniform(reward_QxG)[:, None], 0.0, centred_QxG)
    if scale == "group":
        return centred_QxG / (jnp.std(reward_QxG, axis=1, keepdims=True, ddof=1) + _EPSILON)
    if scale == "batch":
        return centred_QxG / (jnp.std(reward_QxG, ddof=1, where=counts_QxG) + _EPSILON)
    assert scale == "none", scale
    return centred_QxG


def token_weights(length_QxG: jax.Array, width: int, limit: int, loss: str) -> jax.Array:
    """wᵢₜ of the whole batch, [Q, G, width]; 0 past each completion's length.

    Args:
      length_QxG: int32, tokens of each completion; 0 for one that has no part in the loss.
      width: C, the arrays' width, at least the longest length.
      limit: the longest completion that the sampler would have drawn.
      loss: one of `LOSSES`.
    """
    mask_QxGxC = (jnp.arange(width) < length_QxG[..., None]).astype(jnp.float32)
    completions = jnp.maximum(jnp.sum(length_QxG > 0), 1)
    if loss == "grpo":
        return mask_QxGxC / (completions * jnp.maximum(length_QxG, 1)[..., None])
    if loss == "dr_grpo":
        return mask_QxGxC / (completions * limit)
    assert loss == "dapo", loss
    return mask_QxGxC / jnp.maximum(jnp.sum(length_QxG), 1)


def teaches(external_QxG: jax.Array, advantage_QxG: jax.Array) -> jax.Array:
    """[Q, G] bool: the completion has a part in the loss. False for worse ones of other models.

    Args:
      external_QxG: bool, another model drew the completion.
      advantage_QxG: from `advantages`.
    """
    return ~external_QxG | (advantage_QxG > 0)


class TokenLoss(NamedTuple):
    """Per token [Q, G, C], float32."""

    loss: jax.Array
    kl: jax.Array
    """Dᵢₜ; 0 where there is no reference, and of tokens that another model drew."""
    clipped: jax.Array
    """1 where the clip decided, else 0."""


def token_loss(
    logprob_QxGxC: jax.Array,
    old_logprob_QxGxC: jax.Array,
    reference_logprob_QxGxC: jax.Array | None,
    advantage_QxG: jax.Array,
    external_QxG: jax.Array,
    *,
    eps_low: float,
    eps_high: float,
    beta: float,
) -> TokenLoss:
    """ℓᵢₜ and what it is made of. Without a reference β must be 0.

    Args:
      logprob_QxGxC: log π, the only argument that has a gradient.
      old_logprob_QxGxC: log π_old; not read where `external_QxG`.
      reference_logprob_QxGxC: log π_ref.
      advantage_QxG: from `advantages`.
      external_QxG: bool, another model drew the completion: ρ is 1.
      eps_low: the ratio is clipped below 1 - eps_low.
      eps_high: and above 1 + eps_high.
      beta: β.
    """
    assert reference_logprob_QxGxC is not None or beta == 0
    advantage = advantage_QxG[..., None]
    now_QxGxC = jax.lax.stop_gradient(logprob_QxGxC)
    old_QxGxC = jnp.where(external_QxG[..., None], now_QxGxC, old_logprob_QxGxC)
    ratio = jnp.exp(logprob_QxGxC - old_QxGxC)
    plain = ratio * advantage
    bounded = jnp.clip(ratio, 1 - eps_low, 1 + eps_high) * advantage
    loss = -jnp.minimum(plain, bounded)
    kl = jnp.zeros_like(loss)
    if reference_logprob_QxGxC is not None:
        # Of tokens that π did not draw it is no estimate of a divergence, and may be huge.
        gap = jnp.where(external_QxG[..., None], 0.0, reference_logprob_QxGxC - logprob_QxGxC)
        kl = jnp.exp(gap) - gap - 1
        loss += beta * kl
    return TokenLoss(loss, kl, (bounded < plain).astype(jnp.float32))
