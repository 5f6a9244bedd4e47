"""What all nodes of a swarm must have in common. It travels in every heartbeat.

So it lives as long as any member does, whoever started the swarm, and needs no record of its own.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType

from jaxswarm.errors import InputError

PROTOCOL = 3
"""The rules of the rounds and the meaning of the records. The packing has a version of its own."""

AGREE_BY: Mapping[str, str] = MappingProxyType(
    {
        "data": "give the same training data by --config.data.*",
        "question_seed": "set --config.swarm.seed to that",
        "questions_per_round": "set --config.stages.questions to that",
        "prompts": "set --config.stages.prompts to that, in the same version of jaxswarm",
        "mode": "set --config.swarm.mode to that",
        "protocol": "use the same version of jaxswarm",
    }
)
"""How a node comes to agree in each field."""

Fields = tuple[tuple[str, int | str], ...]
"""A manifest as it travels: (name, value) in the order of the names, whatever fields it has."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """This node's side of the bargain.

    `data`: the fingerprint of the training questions. `prompts`: the prompt set's name and version.
    `mode`: what a round is, "stages" or "sharing".
    """

    data: str
    question_seed: int
    questions_per_round: int
    prompts: str
    mode: str = "stages"
    protocol: int = PROTOCOL

    def fields(self) -> Fields:
        return tuple(sorted(asdict(self).items()))


def mark(fields: Fields) -> str:
    """Tells one manifest from another, in 16 hex digits."""
    return hashlib.sha256(repr(fields).encode()).hexdigest()[:16]


def check(own: Fields, others: Iterable[Fields]) -> None:
    """Raises if more of the live members disagree with `own` than agree.

    One liar can't lock a node out of a swarm that has an honest member.

    Raises:
      InputError: names the first field that differs from the manifest most members have, with both
        values.
    """
    counts = Counter(others)
    agree = counts.pop(own, 0)
    if sum(counts.values()) <= agree:
        return
    theirs = dict(max(counts.items(), key=lambda item: (item[1], repr(item[0])))[0])
    mine = dict(own)
    names = sorted(mine.keys() | theirs.keys(), key=lambda name: (name != "protocol", name))
    name = next(name for name in names if mine.get(name) != theirs.get(name))
    raise InputError(
        f"the swarm's manifest, field {name!r}",
        got=mine.get(name),
        expected=f"{theirs.get(name)!r}, as the swarm's members have it",
        remedy=f"{AGREE_BY.get(name, AGREE_BY['protocol'])}, or join or start another swarm by "
        "--config.swarm.name",
    )
