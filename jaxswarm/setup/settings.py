"""From a config to the frozen settings that the parts of a node are made with.

Each function reads what it needs of the config and says what of it can't be used.
"""

import hashlib
from pathlib import Path

from jaxswarm.errors import InputError
from jaxswarm.host.paths import typed
from jaxswarm.learner.optimizer import OptimizerConfig
from jaxswarm.learner.sampling import Sampling
from jaxswarm.learner.train_step import GRPOConfig
from jaxswarm.model.sharding import all_devices
from jaxswarm.node.held_out import EvaluationConfig
from jaxswarm.node.parts import NodeConfig
from jaxswarm.records import STAGES
from jaxswarm.setup.flags import Config
from jaxswarm.swarm import access
from jaxswarm.swarm.clocks import HEARTBEAT_MARGIN_S
from jaxswarm.swarm.config import DhtConfig, Limits

CHECKPOINTS = "checkpoints"
CONTACTS_FILE = "contacts.json"

MODES = STAGED, SHARING = "stages", "sharing"
"""What a round is: three stages over the same questions, or an answer stage that mixes rollouts."""


def output_directory(config: Config) -> Path:
    """Where all that the run writes goes."""
    return typed(config.output.directory)


def dht(config: Config) -> DhtConfig:
    """How the node stands in the network.

    Raises:
      InputError: the swarm has no name, the secret or the list of a private one can't be used, or
        records would be kept for longer than any peer allows.
    """
    swarm, limits = config.swarm, Limits()
    if not swarm.name.strip():
        raise InputError(
            "swarm.name",
            got=swarm.name,
            expected="a name: by it the records of one swarm are told from another's",
            remedy="set --config.swarm.name",
        )
    for key, most_s in (
        ("member_ttl_s", limits.max_heartbeat_ttl_s - HEARTBEAT_MARGIN_S),
        ("output_ttl_s", limits.max_ttl_s),
    ):
        if getattr(swarm, key) > most_s:
            raise InputError(
                f"swarm.{key}",
                got=getattr(swarm, key),
                expected=f"at most {most_s:g} s, as every peer has it",
                remedy=f"set --config.swarm.{key}",
            )
    identity = swarm.identity or str(output_directory(config) / "identity.pem")
    return DhtConfig(
        name=swarm.name,
        identity_path=str(typed(identity)),
        identity_backup=str(typed(swarm.identity_backup)) if swarm.identity_backup else "",
        initial_peers=_list(swarm.initial_peers),
        host_maddrs=_list(swarm.host_maddrs),
        announce_maddrs=_list(swarm.announce_maddrs),
        use_relay=swarm.use_relay,
        use_auto_relay=swarm.use_auto_relay,
        client_mode=swarm.client_mode,
        contacts_path=str(output_directory(config) / CONTACTS_FILE),
        startup_timeout_s=swarm.startup_timeout_s,
        heartbeat_s=swarm.heartbeat_s,
        member_ttl_s=swarm.member_ttl_s,
        output_ttl_s=swarm.output_ttl_s,
        poll_s=swarm.poll_s,
        access=access.load(swarm.name, swarm.secret_file, swarm.allowed_peers),
    )


def node(config: Config, peer: str) -> NodeConfig:
    """What the node itself is told. `assemble.check_values` has looked at it."""
    seed = config.seed if config.seed >= 0 else _seed_of(peer)
    return NodeConfig(
        name=output_directory(config).resolve().name,
        seed=seed,
        swarm_seed=config.swarm.seed,
        rounds=config.rounds,
        questions=config.stages.questions,
        group=config.grpo.group,
        limit=config.generation.limit,
        sampling=sampling(config),
        prompt_buckets=tuple(config.generation.prompt_buckets),
        row_buckets=row_buckets(config),
        external=config.swarm.external,
        publish=config.stages.publish,
        peers_in_prompt=config.stages.peers_in_prompt,
        max_peer_chars=config.stages.max_peer_chars,
        first_peers=config.swarm.first_peers if config.swarm.enabled else 0,
        stage_deadline_s=config.swarm.stage_deadline_s,
        train_while_waiting=config.swarm.enabled and config.swarm.train_while_waiting,
        checkpoint_stages=config.output.checkpoint_stages,
        evaluate_rounds=config.evaluation.every_rounds,
        evaluation=evaluation(config, seed),
        profile_round=config.output.profile_round,
    )


def evaluation(config: Config, seed: int) -> EvaluationConfig:
    """How held-out questions are asked."""
    return EvaluationConfig(
        questions=config.evaluation.questions,
        samples=config.evaluation.samples,
        batch=config.evaluation.batch,
        limit=config.generation.limit,
        prompt_buckets=tuple(config.generation.prompt_buckets),
        seed=seed,
    )


def sampling(config: Config) -> Sampling:
    """How completions to learn from are drawn. Raises InputError for what no sampler can."""
    generation = config.generation
    return Sampling(generation.temperature, generation.top_k, generation.top_p)


def grpo(config: Config) -> GRPOConfig:
    """What a step is made of. Raises InputError for what it can't be made of."""
    given = config.grpo
    return GRPOConfig(
        loss=given.loss,
        advantage_scale=given.advantage_scale,
        beta=given.beta,
        eps_low=given.eps_low,
        eps_high=given.eps_high,
        updates=given.updates,
        micro_batches=given.micro_batches,
        temperature=config.generation.temperature,
        limit=config.generation.limit,
        vocab_slice=given.vocab_slice,
        remat=given.remat,
        dtype=dtype(config.model.dtype),
    )


def optimizer(config: Config) -> OptimizerConfig:
    """What updates the parameters.

    Raises:
      InputError: a schedule that ends, in a run that does not, or that goes on after it.
    """
    given, swarm = config.optimizer, config.swarm
    if given.schedule == "cosine" and config.rounds == 0:
        raise InputError(
            "optimizer.schedule",
            got="cosine",
            expected="a run with an end: rounds above 0",
            remedy="set --config.rounds, or --config.optimizer.schedule=constant",
        )
    trains_on = swarm.enabled and swarm.mode == STAGED and swarm.train_while_waiting
    if given.schedule == "cosine" and trains_on:
        raise InputError(
            "optimizer.schedule",
            got="cosine",
            expected="a run whose updates are known: no swarm.train_while_waiting",
            remedy="set --config.swarm.train_while_waiting=False, "
            "or --config.optimizer.schedule=constant",
        )
    stages = 1 if swarm.mode == SHARING else len(STAGES)
    return OptimizerConfig(
        learning_rate=given.learning_rate,
        schedule=given.schedule,
        warmup_steps=given.warmup_steps,
        total_steps=config.rounds * stages * config.grpo.updates,
        clip_norm=given.clip_norm,
        weight_decay=given.weight_decay,
        b1=given.b1,
        b2=given.b2,
    )


def dtype(name: str) -> str:
    """That of the matmuls. `auto`: the one setting that follows from the device.

    Raises:
      InputError: it is none of the two, or there is no device.
    """
    if name == "auto":
        return "float32" if all_devices()[0].platform == "cpu" else "bfloat16"
    if name not in ("bfloat16", "float32"):
        raise InputError(
            "model.dtype",
            got=name,
            expected="auto, bfloat16 or float32",
            remedy="set --config.model.dtype",
        )
    return name


def row_buckets(config: Config) -> tuple[float, ...]:
    """Numbers of rows to pack a group into, without those that save none."""
    return tuple(rows for rows in config.grpo.row_buckets if rows < config.grpo.group)


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _seed_of(peer: str) -> int:
    return int.from_bytes(hashlib.sha256(peer.encode()).digest()[:4]) >> 1
