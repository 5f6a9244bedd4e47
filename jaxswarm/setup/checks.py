"""Values in a config that make no sense, whatever the model is."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from jaxswarm.errors import InputError
from jaxswarm.records import STAGES
from jaxswarm.setup import flags
from jaxswarm.setup.flags import Config
from jaxswarm.setup.settings import MODES, STAGED
from jaxswarm.stages.merge import PUBLISH_POLICIES
from jaxswarm.swarm.arrivals import STARTED_OVER

Row = tuple[str, Callable[[Any], bool], str]
"""A key, whether its value can be used, and what is expected in words."""

LONGEST_S = 1e8
"""Three years: what is longer, or infinite, is no date any more when it is added to today's."""


def check(config: Config) -> None:
    """Raises InputError for the first of them.

    Other keys are looked at where their settings are made.
    """
    for key, is_ok, expected in _rows(config):
        got = flags.value(config, key)
        if not is_ok(got):
            raise InputError(key, got=got, expected=expected, remedy=f"set --config.{key}")


def _rows(config: Config) -> tuple[Row, ...]:
    """In the order of configs/gsm8k.py."""
    swarm, group = config.swarm, config.grpo.group
    is_in_step = swarm.enabled and swarm.mode == STAGED
    seconds = f"above 0 s, and at most {LONGEST_S:g} s"
    return (
        ("rounds", _is_not_below_0, "0 (until stopped) or more"),
        ("stages.questions", _is_some, "1 or more"),
        ("stages.publish", PUBLISH_POLICIES.__contains__, f"one of {PUBLISH_POLICIES}"),
        ("stages.peers_in_prompt", _is_some, "1 (the node's own text alone) or more"),
        ("stages.max_peer_chars", _is_some, "1 or more"),
        ("generation.limit", _is_some, "1 or more"),
        (
            "generation.temperature",
            _is_above_0,
            "above 0: a group of equal completions teaches nothing",
        ),
        (
            "generation.top_k",
            lambda count: count == 0 or count >= 2,
            "0 (all), or 2 or more: a group of equal completions teaches nothing",
        ),
        (
            "generation.prompt_buckets",
            lambda buckets: _is_rising(buckets) and all(isinstance(P, int) for P in buckets),
            "rising whole numbers above 0",
        ),
        ("grpo.group", lambda count: count >= 2, "2 or more: GRPO compares them"),
        ("grpo.eps_low", lambda eps: 0 <= eps <= 1, "from 0 to 1 (clips nothing)"),
        ("grpo.eps_high", _is_not_below_0, "0 or more"),
        (
            "grpo.row_buckets",
            lambda buckets: not buckets or _is_rising(buckets),
            "rising numbers from 1 on, or ()",
        ),
        ("optimizer.learning_rate", _is_above_0, "above 0"),
        ("optimizer.warmup_steps", _is_not_below_0, "0 (none) or more"),
        ("optimizer.clip_norm", _is_above_0, "above 0"),
        ("optimizer.weight_decay", _is_not_below_0, "0 (none) or more"),
        ("optimizer.b1", _is_part, "0 or more, and below 1"),
        ("optimizer.b2", _is_part, "0 or more, and below 1"),
        ("swarm.mode", MODES.__contains__, f"one of {MODES}"),
        (
            "swarm.external",
            lambda count: swarm.mode == STAGED or 1 <= count < group,
            f"1 or more, and less than grpo.group ({group})",
        ),
        (
            "swarm.host_maddrs",
            lambda maddrs: not swarm.enabled or _is_named(maddrs.replace(",", "")),
            "a multiaddress to listen at, such as /ip4/0.0.0.0/tcp/0",
        ),
        ("swarm.first_peers", _is_not_below_0, "0 (wait for nobody) or more"),
        ("swarm.stage_deadline_s", _is_time, seconds),
        ("swarm.startup_timeout_s", _is_time, seconds),
        ("swarm.heartbeat_s", _is_time, seconds),
        (
            "swarm.member_ttl_s",
            lambda ttl_s: ttl_s > swarm.heartbeat_s,
            f"above swarm.heartbeat_s ({swarm.heartbeat_s:g} s)",
        ),
        ("swarm.output_ttl_s", _is_time, seconds),
        (
            "swarm.output_ttl_s",
            lambda ttl_s: not is_in_step or ttl_s >= len(STAGES) * swarm.stage_deadline_s,
            f"at least {len(STAGES)} times swarm.stage_deadline_s ({swarm.stage_deadline_s:g} s), "
            "else outputs are gone before slow peers read them",
        ),
        ("swarm.poll_s", _is_time, seconds),
        ("evaluation.every_rounds", _is_not_below_0, "0 (at the start and the end alone) or more"),
        ("evaluation.questions", _is_not_below_0, "0 (no evaluation) or more"),
        ("evaluation.samples", _is_not_below_0, "0 (greedy alone) or more"),
        ("evaluation.batch", _is_some, "1 or more"),
        ("output.directory", _is_named, "a directory"),
        (
            "output.checkpoint_stages",
            lambda stages: stages >= 1 and (swarm.mode == STAGED or stages <= STARTED_OVER // 2),
            f"1 or more, and at most {STARTED_OVER // 2} where rollouts are shared",
        ),
        ("output.keep_checkpoints", _is_some, "1 or more"),
    )


def _is_some(count: int) -> bool:
    return count >= 1


def _is_not_below_0(number: float) -> bool:
    return number >= 0


def _is_above_0(number: float) -> bool:
    return number > 0


def _is_time(seconds: float) -> bool:
    return 0 < seconds <= LONGEST_S


def _is_part(number: float) -> bool:
    return 0 <= number < 1


def _is_named(text: str) -> bool:
    return bool(text.strip())


def _is_rising(sizes: tuple[float, ...]) -> bool:
    return bool(sizes) and sizes[0] >= 1 and all(a < b for a, b in pairwise(sizes))
