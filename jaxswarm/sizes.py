"""Sizes and names in a config that make no sense, whatever the model is."""

from itertools import pairwise

from jaxswarm import flags
from jaxswarm.errors import InputError
from jaxswarm.flags import Config
from jaxswarm.settings import MODES, STAGED
from jaxswarm.stages.merge import PUBLISH_POLICIES


def check(config: Config) -> None:
    """Raises InputError for the first of them."""
    group = config.grpo.group
    shares = config.swarm.mode != STAGED
    for key, is_ok, expected in (
        ("grpo.group", lambda count: count >= 2, "2 or more: GRPO compares them"),
        ("rounds", lambda count: count >= 0, "0 (until stopped) or more"),
        ("stages.questions", _is_some, "1 or more"),
        ("stages.publish", PUBLISH_POLICIES.__contains__, f"one of {PUBLISH_POLICIES}"),
        ("swarm.mode", MODES.__contains__, f"one of {MODES}"),
        (
            "swarm.external",
            lambda count: not shares or 1 <= count < group,
            f"1 or more, and less than grpo.group ({group})",
        ),
        ("stages.peers_in_prompt", _is_some, "1 (the node's own text alone) or more"),
        ("output.checkpoint_stages", _is_some, "1 or more"),
        ("output.keep_checkpoints", _is_some, "1 or more"),
        ("evaluation.batch", _is_some, "1 or more"),
        ("generation.limit", _is_some, "1 or more"),
        ("generation.prompt_buckets", _is_rising, "rising lengths above 0"),
        (
            "grpo.row_buckets",
            lambda buckets: not buckets or _is_rising(buckets),
            "rising numbers from 1 on, or ()",
        ),
    ):
        got = flags.value(config, key)
        if not is_ok(got):
            raise InputError(key, got=got, expected=expected, remedy=f"set --config.{key}")


def _is_some(count: int) -> bool:
    return count >= 1


def _is_rising(sizes: tuple[float, ...]) -> bool:
    return bool(sizes) and sizes[0] >= 1 and all(a < b for a, b in pairwise(sizes))
