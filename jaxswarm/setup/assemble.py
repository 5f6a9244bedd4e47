"""From a config to the parts of a node.

Each function reads what it needs of the config and gives one part.
"""

from collections.abc import Callable, Mapping
from functools import partial

import jax
from flax import nnx
from jax.sharding import Mesh

from jaxswarm.errors import InputError
from jaxswarm.host.paths import typed
from jaxswarm.learner.checkpoint import Checkpointer
from jaxswarm.learner.generator import Generate, Generator
from jaxswarm.learner.learner import Learner
from jaxswarm.learner.micro_batches import check_micro_batches
from jaxswarm.model import precision, qwen2, sharding, sources, weights
from jaxswarm.model.config import ModelConfig
from jaxswarm.records import Stage
from jaxswarm.report.files import unwritable
from jaxswarm.setup import checks, settings
from jaxswarm.setup.flags import Config
from jaxswarm.stages import dataset, registry
from jaxswarm.stages.dataset import Dataset
from jaxswarm.stages.registry import StagePlan
from jaxswarm.swarm.exchange import Exchange
from jaxswarm.swarm.local_exchange import Hub, LocalExchange
from jaxswarm.tokenizer import Tokenizer

SOLO_PEER = "solo"

KEPT_FROM_S = 0.1
"""Programs that compile for longer are kept between runs. JAX keeps those that take a second, which
on a fast machine a tiny model's don't: each start would compile them again."""


def set_up_jax(config: Config) -> None:
    """Keeps compiled programs between runs, and float32 in full where matmuls are in it.

    To be called before the first program.

    Raises:
      InputError: matmuls can't be in that dtype.
    """
    if config.output.compilation_cache:
        cache = str(typed(config.output.compilation_cache))
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", KEPT_FROM_S)
    precision.set_for(settings.dtype(config.model.dtype))


def mesh(config: Config) -> Mesh:
    along = config.mesh
    return sharding.make_mesh(data=along.data, fsdp=along.fsdp, tensor=along.tensor)


def learner(config: Config, source: weights.Source, say: Callable[[str], None]) -> Learner:
    """Loads the model's weights onto the mesh.

    Raises:
      InputError: the weights can't be used.
    """
    on_mesh, grpo, optimizer = mesh(config), settings.grpo(config), settings.optimizer(config)
    graph, params = _load(source, on_mesh, "float32", say)
    return Learner(graph, params, on_mesh, grpo, optimizer)


def generate(config: Config, source: weights.Source, say: Callable[[str], None]) -> Generate:
    """Loads the model's weights onto the mesh to generate alone: once, in the dtype of matmuls.

    Raises:
      InputError: as for `learner`.
    """
    on_mesh, of_pass = mesh(config), settings.dtype(config.model.dtype)
    graph, params = _load(source, on_mesh, of_pass, say)
    return partial(Generator(graph, on_mesh, of_pass), params)


def model_source(config: Config) -> weights.Source:
    return sources.open_source(config.model.source)


def model_config(config: Config) -> ModelConfig:
    """What `model_source` will open, without fetching it."""
    return sources.look_up(config.model.source)


def tokenizer(source: weights.Source) -> Tokenizer:
    """The model's.

    Raises:
      InputError: there is none that can be used.
    """
    made = Tokenizer(source.tokenizer)
    made.check_size(source.config.vocab_size)
    return made


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
    """Where the run's checkpoints lie, with the tokenizer that makes each of them a whole model.

    Raises:
      InputError: the disk is full or can't be written.
    """
    made = Checkpointer(
        settings.output_directory(config) / settings.CHECKPOINTS,
        source.config,
        keep=config.output.keep_checkpoints,
    )
    try:
        vocabulary.save(made.tokenizer_directory)
    except OSError as error:
        raise unwritable(made.tokenizer_directory, error) from error
    return made


def exchange(
    config: Config,
    questions: Dataset,
    stage_plans: Mapping[Stage, StagePlan],
    say: Callable[[str], None],
) -> Exchange:
    """Over the DHT, or within the process for a solo run, which does not load hivemind.

    Raises:
      InputError: see `settings.dht` and `DhtExchange`.
    """
    if not config.swarm.enabled:
        return LocalExchange(Hub(), SOLO_PEER)
    from jaxswarm.swarm.dht_exchange import DhtExchange
    from jaxswarm.swarm.manifest import Manifest

    manifest = Manifest(
        data=questions.fingerprint(),
        question_seed=config.swarm.seed,
        questions_per_round=config.stages.questions,
        prompts=stage_plans[Stage.ANSWER].prompt_set.version,
        mode=config.swarm.mode,
    )
    return DhtExchange(settings.dht(config), manifest, say)


def check_values(config: Config) -> None:
    """Looks at what makes no sense whatever the model is.

    Raises:
      InputError: a value that can't be used, or a batch that can't be cut as asked for.
    """
    checks.check(config)
    for make in (settings.sampling, settings.grpo, settings.optimizer):
        make(config)
    check_micro_batches(
        config.grpo.micro_batches,
        config.stages.questions,
        config.grpo.group,
        is_packed=bool(settings.row_buckets(config)),
    )


def check_data(config: Config, questions: Dataset) -> None:
    """Raises InputError if a round asks for more questions than there are to train on."""
    if config.stages.questions > len(questions.train):
        raise InputError(
            "stages.questions",
            got=config.stages.questions,
            expected=f"at most the {len(questions.train)} training questions",
            remedy="set --config.stages.questions, or give more questions by --config.data.source",
        )


def check_model(config: Config, model: ModelConfig) -> None:
    """Looks at what the model does not go with.

    Raises:
      InputError: the mesh does not divide the model or a batch, or a prompt and its completion can
        be longer than the model's context.
    """
    sharding.check_divides(
        model,
        mesh(config),
        {
            "questions of a round": config.stages.questions,
            "evaluation.batch": config.evaluation.batch if config.evaluation.questions else 0,
        },
    )
    longest = max(config.generation.prompt_buckets) + config.generation.limit
    if longest > model.max_positions:
        raise InputError(
            "the largest of generation.prompt_buckets plus generation.limit",
            got=longest,
            expected=f"at most the model's context, {model.max_positions} tokens",
            remedy="set --config.generation.prompt_buckets or --config.generation.limit",
        )


def _load(
    source: weights.Source, on_mesh: Mesh, dtype: str, say: Callable[[str], None]
) -> tuple[nnx.GraphDef, nnx.State]:
    graph, _ = qwen2.abstract(source.config)
    say(f"loading {source.config.num_parameters / 1e6:,.1f}M parameters of {source.name}")
    return graph, weights.load(source, on_mesh, dtype)
