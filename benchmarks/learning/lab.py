"""What all runs of an experiment share: model, programs, data; and starts of the specialists."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from benchmarks.learning import further_problems, sharing, specialists
from benchmarks.learning.debate import Debate, debate
from benchmarks.learning.measures import Exam, Full, Reader
from benchmarks.learning.sharing import LogProbs
from benchmarks.learning.twin import Twin
from jaxswarm.errors import InputError
from jaxswarm.learner.generator import Generate
from jaxswarm.learner.learner import Learner
from jaxswarm.model import qwen2
from jaxswarm.node.parts import NodeConfig
from jaxswarm.records import Discussion, Question, Stage
from jaxswarm.setup import assemble, flags, settings
from jaxswarm.stages import registry
from jaxswarm.stages.dataset import Dataset
from jaxswarm.stages.registry import StagePlan
from jaxswarm.tokenizer import Tokenizer

NEW_NUMBERS = 256
FOUR_STEPS = 100

ROUND_UP = 16
"""Added buckets are multiples of so many tokens."""


@dataclass(frozen=True)
class Lab:
    """Made once; every run takes copies of the learner."""

    config: flags.Config
    learner: Learner
    """At its start."""
    logprobs: LogProbs
    tokenizer: Tokenizer
    dataset: Dataset
    exam: Exam
    reader: Reader
    graph: nnx.GraphDef
    starts: Path
    """Where the specialists' parameters are kept."""

    def plans(self, rewards: str) -> Mapping[Stage, StagePlan]:
        """The three stages under the rewards of this name."""
        return registry.plans(self.config.stages.prompts, rewards)

    def debate(
        self,
        asks: Sequence[Generate],
        config: NodeConfig,
        after: Sequence[tuple[Full, list[list[str]]]],
        seed: int,
    ) -> Debate:
        """Of a run's nodes. `after`: what was measured of each at its end, and its samples."""
        sample_length = sum(full.sampled_length for full, _ in after) / len(after)
        return debate(
            self.reader,
            asks,
            self.plans("corrected"),
            config,
            self.exam.held_out,
            [texts for _, texts in after],
            sample_length,
            seed,
        )

    def twin(self, kind: str | None) -> Twin:
        """A learner at its start; `kind`: that of a specialist.

        Raises:
          InputError: a specialist in problems whose kinds are not known.
        """
        if kind is None:
            return Twin(self.learner)
        if not self.exam.new_numbers:
            raise InputError(
                "--arms",
                got="specialists",
                expected="the embedded model and problems, whose demonstrations are known",
                remedy="take --config=configs/tiny.py, or arms without specialists",
            )
        return Twin(self.learner, self._specialist(kind))

    def _specialist(self, kind: str) -> Any:
        params = self.learner.state.params
        leaves, tree = jax.tree.flatten(params)
        file = self.starts / f"{kind.replace(' ', '-')}.npz"
        if not file.exists():
            model = Path(self.config.model.source)
            trained = specialists.train(self.graph, params, model, kind)
            file.parent.mkdir(parents=True, exist_ok=True)
            whole = file.with_suffix(".part.npz")
            np.savez(whole, *[np.asarray(leaf) for leaf in jax.tree.leaves(trained)])
            whole.rename(file)
        with np.load(file) as saved:
            arrays = [saved[f"arr_{index}"] for index in range(len(leaves))]
        placed = [
            jax.device_put(array, leaf.sharding) for array, leaf in zip(arrays, leaves, strict=True)
        ]
        return jax.tree.unflatten(tree, placed)


def open_lab(config: flags.Config, starts: Path, say: Callable[[str], None]) -> Lab:
    """Loads the model and the data.

    Raises:
      InputError: something in the config can't be used.
    """
    assemble.set_up_jax(config)
    source = assemble.model_source(config)
    tokenizer = assemble.tokenizer(source)
    plans, dataset = assemble.plans(config), assemble.data(config)
    _check(config)
    with config.unlocked():
        # Clips nothing that the importance weights of shared rollouts leave, and, with one update a
        # batch, nothing else either.
        config.grpo.eps_low, config.grpo.eps_high = 1.0, 4 * sharing.TRUNCATION
        config.output.profile_round = -1  # a process can trace one node at a time
    _add_buckets(config, tokenizer, plans[Stage.ANSWER], dataset.train)
    assemble.check_values(config)
    assemble.check_model(config, source.config)
    learner = assemble.learner(config, source, say)
    graph, _ = qwen2.abstract(source.config)
    node = settings.node(config, "lab")
    logprobs = sharing.own_logprobs(
        graph,
        dtype=settings.dtype(config.model.dtype),
        temperature=config.generation.temperature,
        vocab_slice=config.grpo.vocab_slice,
    )
    embedded = Path(config.data.source).parent.name == "embedded"
    return Lab(
        config,
        learner,
        logprobs,
        tokenizer,
        dataset,
        Exam(
            dataset.held_out[: config.evaluation.questions],
            further_problems.new_numbers(NEW_NUMBERS) if embedded else (),
            further_problems.four_steps(FOUR_STEPS) if embedded else (),
        ),
        Reader(tokenizer, node.evaluation),
        graph,
        starts,
    )


def _check(config: flags.Config) -> None:
    if config.grpo.updates != 1:
        raise InputError(
            "grpo.updates",
            got=config.grpo.updates,
            expected="1, as all arms have it",
            remedy="leave out --config.grpo.updates",
        )


def _add_buckets(
    config: flags.Config, tokenizer: Tokenizer, plan: StagePlan, questions: Sequence[Question]
) -> None:
    """A bucket of prompts that the answer stage fits in, and one of rows for its completions.

    A long run gains more by it than one more program takes to compile.
    """
    prompts = tokenizer.encode_prompts([plan.messages(Discussion(q)) for q in questions])
    longest = -(-max(map(len, prompts)) // ROUND_UP) * ROUND_UP
    with config.unlocked():
        if longest < min(config.generation.prompt_buckets):
            config.generation.prompt_buckets = (longest, *config.generation.prompt_buckets)
        if not config.grpo.row_buckets:
            config.grpo.row_buckets = (config.grpo.group // 2,)
