"""The arms of the experiment: what differs between them, and nothing else does.

Each arm's nodes generate and learn from `budget` times the tokens of one `solo` node, so that arms
compare at equal compute a node; `solo-3x` has the compute of a whole swarm of three.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

GROUP = 8
"""Completions of a question that a node draws, and that it learns from."""


class Play(StrEnum):
    """What a node does in a round."""

    ANSWER = "answer"
    """Stage 1 alone, on its own completions."""
    STAGES = "stages"
    """All three stages, over the exchange."""
    SHARING = "sharing"
    """Stage 1 alone; a part of each group comes from peers."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to spend the tokens."""

    name: str
    says: str
    """For the page, in words."""
    play: Play
    nodes: int = 1
    together: bool = True
    """Whether the nodes share one exchange; False: each is alone on its own."""
    budget: float = 1.0
    """Tokens of each node, in those of one solo node."""
    specialists: bool = False
    """Whether each node starts with a skill of its own, not with the config's model."""
    placebo: bool = False
    """Whether peers' answers are shown under questions that they don't answer."""
    rewards: str = "corrected"
    external: int = 0
    """Of a group that is learnt from, completions of peers."""
    weighted: bool = False
    """Whether these count by truncated importance weights; else as jaxswarm.learner.grpo has it."""


_SOLO = Arm("solo", "one node, GRPO on stage 1 alone", Play.ANSWER)
_SWARM = Arm("swarm", "three nodes, three stages, clones with other seeds", Play.STAGES, nodes=3)
_SHARING = Arm("", "", Play.SHARING, nodes=3)
_SPECIALISTS = Arm(
    "specialists",
    "three nodes that start with different skills, three stages",
    Play.STAGES,
    nodes=3,
    specialists=True,
)


def _mix(external: int) -> Arm:
    own = GROUP - external
    return replace(
        _SHARING,
        name=f"sharing-{own}-{external}",
        says=f"three clones that trade rollouts: {own} own and {external} of peers in a group",
        external=external,
    )


ARMS = {
    arm.name: arm
    for arm in (
        _SOLO,
        _SPECIALISTS,
        replace(
            _SPECIALISTS,
            name="specialists-alone",
            says="the same three, three stages, each on its own texts alone",
            together=False,
        ),
        _SWARM,
        replace(
            _SWARM,
            name="placebo",
            says="as swarm, but peers' answers are those to other questions",
            placebo=True,
        ),
        Arm("self-swarm", "one node, three stages on its own texts", Play.STAGES),
        _mix(4),
        replace(
            _SWARM, name="published", says="as swarm, rewards as published", rewards="published"
        ),
        replace(
            _SOLO,
            name="solo-3x",
            says="one node, stage 1 alone, with the compute of three",
            budget=3.0,
        ),
        replace(
            _mix(4),
            name="specialists-sharing",
            says="the specialists, trading rollouts 4 and 4",
            specialists=True,
        ),
        replace(
            _mix(4),
            name="specialists-weighted",
            says="the specialists, trading 4 and 4, by truncated importance weights",
            specialists=True,
            weighted=True,
        ),
        replace(
            _mix(0),
            name="specialists-solo",
            says="the specialists, stage 1 alone, each on its own",
            specialists=True,
        ),
        _mix(2),
        _mix(6),
        _mix(0),
    )
}
"""By name, the most important first."""
