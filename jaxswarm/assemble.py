"""From a config to the parts of a node. With main.py and evaluate.py the only reader of it.

Each function reads what it needs of the config and gives one part.
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import jax
from flax import nnx
from jax.sharding import Mesh

from jaxswarm import sizes
from jaxswarm.errors import InputError
from jaxswarm.flags import Config
from jaxswarm.held_out import EvaluationConfig
from jaxswarm.learner.checkpoint import Checkpointer
from jaxswarm.learner.generator import Generate, Generator
from jaxswarm.learner.learner import Learner
from jaxswarm.learner.optimizer import OptimizerConfig
from jaxswarm.learner.sampling import Sampling
from jaxswarm.learner.train_step import GRPOConfig, check_micro_batches
from jaxswarm.model import qwen2, sharding, sources, weights
from jaxswarm.parts import NodeConfig
from jaxswarm.records import STAGES, Stage
from jaxswarm.stages import dataset, registry
from jaxswarm.stages.dataset import Dataset
from jaxswarm.stages.registry import StagePlan
from jaxswarm.swarm import access
from jaxswarm.swarm.clocks import HEARTBEAT_MARGIN_S
from jaxswarm.swarm.config import DhtConfig, Limits
from jaxswarm.swarm.exchange import Exchange, Hub, LocalExchange
from jaxswarm.tokenizer import Tokenizer

SOLO_PEER = "solo"
CONTACTS_FILE = "contacts.json"


def output_directory(config: Config) -> Path:
    return Path(config.output.directory).expanduser()


def set_up_jax(config: Config) -> None:
    """Keeps compiled programs between runs. To be called before the first program."""
    if config.output.compilation_cache:
        cache = Path(config.output.compilation_cache).expanduser()
        jax.config.update("jax_compilation_cache_dir", str(cache))


def mesh(config: Config) -> Mesh:
    sizes = config.mesh
    return sharding.make_mesh(data=sizes.data, fsdp=sizes.fsdp, tensor=sizes.tensor)


def learner(config: Config, source: weights.Source, say: Callable[[str], None]) -> Learner:
    """Loads the model's weights onto the mesh. `check` has looked at the sizes.

    Raises:
      InputError: the mesh does not fit the model, or the weights can't be used.
    """
    on_mesh, grpo, optimizer = mesh(config), _grpo(config), _optimizer(config)
    graph, params = _load(config, source, on_mesh, "float32", say)
    return Learner(graph, params, on_mesh, grpo, optimizer)


def generate(config: Config, source: weights.Source, say: Callable[[str], None]) -> Generate:
    """Loads the model's weights onto the mesh to generate alone: once, in the dtype of matmuls.

    Raises:
      InputError: as for `learner`.
    """
    on_mesh, of_pass = mesh(config), dtype(config.model.dtype)
    graph, params = _load(config, source, on_mesh, of_pass, say)
    return partial(Generator(graph, on_mesh, of_pass), params)


def model_source(config: Config) -> weights.Source:
    return sources.open_source(config.model.source)


def tokenizer(source: weights.Source) -> Tokenizer:
    return Tokenizer(source.tokenizer)


def plans(config: Config) -> Mapping[Stage, StagePlan]:
    return registry.plans(config.stages.prompts, config.stages.rewards)


def data(config: Config) -> Dataset:
    source = config.data
    return dataset.load(
        source.source,
        subset=source.subset,
        train_split=source.train_split,
        held_out_split=source.held_out_split,
        question_column=source.question_column,
        answer_column=source.answer_column,
    )


def checkpointer(config: Config, source: weights.Source, vocabulary: Tokenizer) -> Checkpointer:
    """Where the run's checkpoints lie, with the tokenizer that makes each of them a whole model."""
    made = Checkpointer(
        output_directory(config) / "checkpoints",
        source.config,
        keep=config.output.keep_checkpoints,
    )
    vocabulary.save(made.tokenizer_directory)
    return made


def exchange(
    config: Config,
    questions: Dataset,
    stage_plans: Mapping[Stage, StagePlan],
    say: Callable[[str], None],
) -> Exchange:
    """The door to the swarm, or to a swarm of one. hivemind is loaded only where there is one."""
    if not config.swarm.enabled:
        return LocalExchange(Hub(), SOLO_PEER)
    from jaxswarm.swarm.dht_exchange import DhtExchange
    from jaxswarm.swarm.manifest import Manifest

    manifest = Manifest(
        data=questions.fingerprint(),
        question_seed=config.swarm.seed,
        questions_per_round=config.stages.questions,
        prompts=stage_plans[Stage.ANSWER].prompt_set.version,
    )
    return DhtExchange(dht_config(config), manifest, say)


def dht_config(config: Config) -> DhtConfig:
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
    identity = swarm.identity or output_directory(config) / "identity.pem"
    return DhtConfig(
        name=swarm.name,
        identity_path=str(Path(identity).expanduser()),
        identity_backup=str(Path(swarm.identity_backup).expanduser())
        if swarm.identity_backup
        else "",
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


def check(config: Config, source: weights.Source) -> None:
    """Looks at all that is quickly looked at, before anything is joined or loaded.

    Raises:
      InputError: a size that makes no sense, or mesh, batch and model don't go together.
    """
    sizes.check(config)
    for make in (_sampling, _grpo, _optimizer):
        make(config)
    check_micro_batches(
        config.grpo.micro_batches,
        config.stages.questions,
        config.grpo.group,
        is_packed=bool(_row_buckets(config)),
    )
    sharding.check_divides(source.config, mesh(config), questions=config.stages.questions)


def node_config(config: Config, peer: str) -> NodeConfig:
    """What the node itself is told. `check` has looked at it."""
    seed = config.seed if config.seed >= 0 else _seed_of(peer)
    return NodeConfig(
        name=Path(config.output.directory).name,
        seed=seed,
        swarm_seed=config.swarm.seed,
        rounds=config.rounds,
        questions=config.stages.questions,
        group=config.grpo.group,
        limit=config.generation.limit,
        sampling=_sampling(config),
        prompt_buckets=tuple(config.generation.prompt_buckets),
        row_buckets=_row_buckets(config),
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
    return EvaluationConfig(
        questions=config.evaluation.questions,
        samples=config.evaluation.samples,
        batch=config.evaluation.batch,
        limit=config.generation.limit,
        prompt_buckets=tuple(config.generation.prompt_buckets),
        seed=seed,
    )


def _load(
    config: Config, source: weights.Source, on_mesh: Mesh, dtype: str, say: Callable[[str], None]
) -> tuple[nnx.GraphDef, nnx.State]:
    sharding.check_divides(source.config, on_mesh, questions=config.stages.questions)
    graph, _ = qwen2.abstract(source.config)
    say(f"loading {source.config.num_parameters / 1e6:,.1f}M weights of {source.name}")
    return graph, weights.load(source, on_mesh, dtype)


def _sampling(config: Config) -> Sampling:
    generation = config.generation
    sampling = Sampling(generation.temperature, generation.top_k, generation.top_p)
    if sampling.temperature == 0:
        raise InputError(
            "generation.temperature",
            got=0,
            expected="above 0: a group of equal completions teaches nothing",
            remedy="set --config.generation.temperature=1.0",
        )
    return sampling


def _grpo(config: Config) -> GRPOConfig:
    grpo = config.grpo
    return GRPOConfig(
        loss=grpo.loss,
        advantage_scale=grpo.advantage_scale,
        beta=grpo.beta,
        eps_low=grpo.eps_low,
        eps_high=grpo.eps_high,
        updates=grpo.updates,
        micro_batches=grpo.micro_batches,
        temperature=config.generation.temperature,
        limit=config.generation.limit,
        vocab_slice=grpo.vocab_slice,
        remat=grpo.remat,
        dtype=dtype(config.model.dtype),
    )


def _optimizer(config: Config) -> OptimizerConfig:
    optimizer = config.optimizer
    if optimizer.schedule == "cosine" and config.rounds == 0:
        raise InputError(
            "optimizer.schedule",
            got="cosine",
            expected="a run with an end: rounds above 0",
            remedy="set --config.rounds, or --config.optimizer.schedule=constant",
        )
    return OptimizerConfig(
        learning_rate=optimizer.learning_rate,
        schedule=optimizer.schedule,
        warmup_steps=optimizer.warmup_steps,
        total_steps=config.rounds * len(STAGES) * config.grpo.updates,
        clip_norm=optimizer.clip_norm,
        weight_decay=optimizer.weight_decay,
        b1=optimizer.b1,
        b2=optimizer.b2,
    )


def dtype(name: str) -> str:
    """That of the matmuls. `auto` is the one place where the program asks what it runs on."""
    if name == "auto":
        return "float32" if jax.default_backend() == "cpu" else "bfloat16"
    if name not in ("bfloat16", "float32"):
        raise InputError(
            "model.dtype",
            got=name,
            expected="auto, bfloat16 or float32",
            remedy="set --config.model.dtype",
        )
    return name


def _row_buckets(config: Config) -> tuple[int, ...]:
    """Without those that save no row."""
    return tuple(rows for rows in config.grpo.row_buckets if rows < config.grpo.group)


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _seed_of(peer: str) -> int:
    return int.from_bytes(hashlib.sha256(peer.encode()).digest()[:4]) >> 1
