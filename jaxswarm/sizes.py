"""Sizes and names in a config that make no sense, whatever the model is."""

from itertools import pairwise

from jaxswarm.errors import InputError
from jaxswarm.flags import Config
from jaxswarm.settings import MODES, STAGED
from jaxswarm.stages.merge import PUBLISH_POLICIES


def check(config: Config) -> None:
    """Raises InputError for the first of them."""
    for what, got, ok, expected in (
        ("grpo.group", config.grpo.group, config.grpo.group >= 2, "2 or more: GRPO compares them"),
        ("rounds", config.rounds, config.rounds >= 0, "0 (until stopped) or more"),
        ("stages.questions", config.stages.questions, config.stages.questions >= 1, "1 or more"),
        (
            "stages.publish",
            config.stages.publish,
            config.stages.publish in PUBLISH_POLICIES,
            f"one of {PUBLISH_POLICIES}",
        ),
        ("swarm.mode", config.swarm.mode, config.swarm.mode in MODES, f"one of {MODES}"),
        (
            "swarm.external",
            config.swarm.external,
            config.swarm.mode == STAGED or 1 <= config.swarm.external < config.grpo.group,
            f"1 or more, and less than grpo.group ({config.grpo.group})",
        ),
        (
            "stages.peers_in_prompt",
            config.stages.peers_in_prompt,
            config.stages.peers_in_prompt >= 1,
            "1 (the node's own text alone) or more",
        ),
        (
            "output.checkpoint_stages",
            config.output.checkpoint_stages,
            config.output.checkpoint_stages >= 1,
            "1 or more",
        ),
        (
            "output.keep_checkpoints",
            config.output.keep_checkpoints,
            config.output.keep_checkpoints >= 1,
            "1 or more",
        ),
        (
            "evaluation.batch",
            config.evaluation.batch,
            config.evaluation.batch >= 1,
            "1 or more",
        ),
        (
            "generation.limit",
            config.generation.limit,
            config.generation.limit >= 1,
            "1 or more",
        ),
        (
            "generation.prompt_buckets",
            config.generation.prompt_buckets,
            _is_rising(config.generation.prompt_buckets),
            "rising lengths above 0",
        ),
        (
            "grpo.row_buckets",
            config.grpo.row_buckets,
            not config.grpo.row_buckets or _is_rising(config.grpo.row_buckets),
            "rising numbers from 1 on, or ()",
        ),
    ):
        if not ok:
            raise InputError(what, got=got, expected=expected, remedy=f"set --config.{what}")


def _is_rising(sizes: tuple[float, ...]) -> bool:
    return bool(sizes) and sizes[0] >= 1 and all(a < b for a, b in pairwise(sizes))
