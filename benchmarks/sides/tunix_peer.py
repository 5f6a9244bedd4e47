"""Tunix's side of the benchmarks: its GRPOLearner with the "vanilla" rollout engine.

Made for google-tunix 0.1.7, from the extra `peers`. What it can't be made to do the same way:

- A batch is cut into micro-batches by question, never inside a group.
- Its sampler prefills each row of a group, and computes one step more than it keeps.
- The padding token inside a completion is taken for padding, there and in the update.
- Log-probabilities come from the logits of the whole batch at once.
- Besides the reference model, a copy of the first weights is kept ("anchor policy").
"""

import time
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from transformers import AutoConfig, AutoTokenizer
from tunix.models.qwen2 import model as qwen2  # pyright: ignore[reportMissingImports]
from tunix.models.qwen2 import params  # pyright: ignore[reportMissingImports]
from tunix.rl.grpo.grpo_learner import (  # pyright: ignore[reportMissingImports]
    GRPOConfig,
    GRPOLearner,
)
from tunix.rl.rl_cluster import (  # pyright: ignore[reportMissingImports]
    ClusterConfig,
    RLCluster,
    RLTrainingConfig,
    Role,
)
from tunix.rl.rollout.base_rollout import (  # pyright: ignore[reportMissingImports]
    CacheConfig,
    RolloutConfig,
)
from tunix.rl.rollout.vanilla_rollout import VanillaRollout  # pyright: ignore[reportMissingImports]

from benchmarks.work import Measured, Work, jax_peak_gb, repeat, run


def tunix_side(work: Work) -> Measured:
    tokenizer: Any = AutoTokenizer.from_pretrained(work.model)
    texts = [tokenizer.decode(prompt) for prompt in work.prompts]
    mesh = Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("fsdp", "tp"))
    longest = max(map(len, work.prompts))
    rollout_config = RolloutConfig(
        max_tokens_to_generate=work.limit,
        max_prompt_length=longest,
        # Its sampler pads prompts to a power of two.
        kv_cache_size=(1 << (longest - 1).bit_length()) + work.limit + 1,
        temperature=1.0,
        top_p=1.0,
        top_k=None,
        eos_tokens=[-1],  # no token is this one
    )
    if work.train:
        return _train(work, texts, tokenizer, mesh, rollout_config)
    model = _model(work, mesh)
    cache = CacheConfig(
        cache_size=rollout_config.kv_cache_size,
        num_layers=model.config.num_layers,
        num_kv_heads=model.config.num_kv_heads,
        head_dim=model.config.head_dim,
    )
    engine = VanillaRollout(model, tokenizer, cache)
    rows = [text for text in texts for _ in range(work.group)]

    def generate() -> None:
        with mesh:
            _check(work, engine.generate(rows, rollout_config))

    return repeat(work, generate, lambda _: None, jax_peak_gb)


def _model(work: Work, mesh: Mesh) -> Any:
    config: Any = AutoConfig.from_pretrained(work.model)
    heads = config.num_attention_heads
    settings = qwen2.ModelConfig(
        num_layers=config.num_hidden_layers,
        vocab_size=config.vocab_size,
        embed_dim=config.hidden_size,
        hidden_dim=config.intermediate_size,
        num_heads=heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        num_kv_heads=config.num_key_value_heads,
        rope_theta=config.rope_parameters["rope_theta"],
        norm_eps=config.rms_norm_eps,
        use_tied_embedding=config.tie_word_embeddings,
        remat_config=qwen2.RematConfig.DECODER if work.recompute else qwen2.RematConfig.NONE,
        dtype=jax.numpy.dtype(work.dtype),
        param_dtype=jax.numpy.dtype("float32"),
    )
    float32 = jax.numpy.float32
    return params.create_model_from_safe_tensors(work.model, settings, mesh, dtype=float32)


def _check(work: Work, rollout: Any) -> None:
    """Every row has its own prompt, padded at the left, and exactly `new_tokens` tokens."""
    prompts = [prompt for prompt in work.prompts for _ in range(work.group)]
    for row, prompt in zip(rollout.left_padded_prompt_tokens, prompts, strict=True):
        assert tuple(row[-len(prompt) :]) == prompt, "a prompt's text has other tokens"
    assert [len(row) for row in rollout.tokens] == [work.limit] * len(prompts)


def _train(
    work: Work, texts: list[str], tokenizer: Any, mesh: Mesh, rollout_config: RolloutConfig
) -> Measured:
    questions, pieces = len(texts), work.micro_batches
    if questions % pieces:
        raise ValueError(f"Tunix can't cut {questions} questions into {pieces} micro-batches")
    generated, steps = [], []

    class Cluster(RLCluster):
        def generate(self, *args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            # Else its remat, which the sampler shares, fails inside the sampler's loop (flax 0.12).
            with nnx.set_graph_updates(False):
                rollout = super().generate(*args, **kwargs)
            generated.append(time.perf_counter() - began)
            _check(work, rollout)
            return rollout

    class Learner(GRPOLearner):
        def _run_global_step(self, *args: Any, **kwargs: Any) -> None:
            began = time.perf_counter()
            super()._run_global_step(*args, **kwargs)
            jax.block_until_ready(nnx.state(self.rl_cluster.actor_trainer.model))
            steps.append(time.perf_counter() - began)

    training = RLTrainingConfig(
        actor_optimizer=optax.chain(
            optax.clip_by_global_norm(1.0), optax.adamw(work.learning_rate, weight_decay=0.0)
        ),
        max_steps=work.repeats + 1,
        eval_every_n_steps=work.repeats + 2,
        mini_batch_size=questions,
        # One piece is given as None: 1 would have it keep a sum of gradients for nothing.
        train_micro_batch_size=questions // pieces if pieces > 1 else None,
        rollout_micro_batch_size=questions,
        compute_logps_micro_batch_size=questions // pieces,
    )
    cluster = Cluster(
        actor=_model(work, mesh),
        reference=_model(work, mesh) if work.beta else None,
        tokenizer=tokenizer,
        cluster_config=ClusterConfig(
            role_to_mesh=dict.fromkeys((Role.ACTOR, Role.REFERENCE, Role.ROLLOUT), mesh),
            rollout_engine="vanilla",
            training_config=training,
            rollout_config=rollout_config,
        ),
    )
    rewards = [reward for group in work.rewards() for reward in group]
    learner = Learner(
        rl_cluster=cluster,
        algo_config=GRPOConfig(
            num_generations=work.group,
            num_iterations=1,
            beta=work.beta,
            epsilon=0.2,
            loss_agg_mode="token-mean",
        ),
        reward_fns=lambda **_: rewards,
    )
    norm = cluster.actor_trainer.model.final_norm.w
    before = np.array(norm[...])
    learner.train([{"prompts": np.array(texts)}] * (work.repeats + 1))
    assert len(generated) == len(steps) == work.repeats + 1
    assert (np.array(norm[...]) != before).any(), "the weights did not change"
    return Measured(steps[0], generated[1:], steps[1:], jax_peak_gb())


if __name__ == "__main__":
    run(tunix_side)
