"""Where a node goes on after it was stopped or killed: at its last whole checkpoint.

A checkpoint holds what was learnt up to a position. The texts of the stages before it in the same
round stand in the journal; so do those of stages that the node played after the checkpoint, and
will play again: with the same seed and the same texts received it learns the same again, and what
it published then it publishes word for word.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxswarm.errors import InputError
from jaxswarm.node.parts import NodeConfig, Parts
from jaxswarm.records import Position
from jaxswarm.report.journal import JournalState


@dataclass(frozen=True, slots=True)
class Start:
    """The stage to play first, and what the journal holds from the start of its round on."""

    position: Position
    past: JournalState


def facts(config: NodeConfig, position: Position) -> dict[str, Any]:
    """What a checkpoint notes beside the learner's state."""
    return {
        "round": position.round,
        "stage_index": position.stage_index,
        "swarm_seed": config.swarm_seed,
        "questions": config.questions,
    }


def resume(config: NodeConfig, parts: Parts) -> Start:
    """Puts the learner's state where its last whole checkpoint left it, if there is one.

    Raises:
      InputError: the checkpoint is of another model, or of rounds with other questions.
    """
    position = Position(0, 0)
    if parts.checkpointer.latest() is not None:
        noted = parts.learner.restore(parts.checkpointer.restore)
        for damage in parts.checkpointer.put_aside:
            parts.status.say(damage)
        _check(noted, config)
        position = Position(noted["round"], noted["stage_index"])
    since = Position(position.round, stage_index=0)
    past = parts.journal.read(own=parts.exchange.peer, since=since)
    if past.unreadable:
        parts.status.say(f"skipped {len(past.unreadable)} incomplete lines of the journal")
    earlier = (Position(position.round, index) for index in range(position.stage_index))
    if not all(stage in past.published for stage in earlier):
        parts.status.say(f"the journal lacks the stages before {position}: going to the next round")
        position = Position(position.round + 1, 0)
    if parts.checkpointer.latest() is not None:
        parts.status.say(f"going on from the last checkpoint, at {position}")
    return Start(position, past)


def _check(noted: Mapping[str, Any], config: NodeConfig) -> None:
    for key, flag in (("swarm_seed", "swarm.seed"), ("questions", "stages.questions")):
        if noted[key] != getattr(config, key):
            raise InputError(
                f"--config.{flag}",
                got=getattr(config, key),
                expected=f"{noted[key]}, with which the checkpoint's rounds were played",
                remedy="take that value, or another --config.output.directory",
            )
