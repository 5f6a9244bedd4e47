"""What several nodes do together in the swarm's tests."""

from jaxswarm.records import Position
from jaxswarm.swarm.waiting import Gathered
from tests.swarm.node_process import NodeProcess, until

PATIENCE_S = 60.0


def announce(position: Position, *nodes: NodeProcess) -> None:
    """All nodes come to a position, and hear each other there."""
    for each in nodes:
        each.call("announce", position, False)
    for each in nodes:
        expected = {other.peer for other in nodes} - {each.peer}
        until(lambda each=each, expected=expected: expected <= at(each, position))


def at(node: NodeProcess, position: Position) -> set[str]:
    """The peers that a node hears at a position."""
    return {peer for peer, member in node.others().items() if member.position == position}


def texts(gathered: Gathered) -> set[str]:
    return {reply.text for each in gathered.outputs for reply in each.replies}


def run_stage(
    position: Position, *nodes: NodeProcess, deadline_s: float = PATIENCE_S
) -> list[set[str]]:
    """All nodes take the stage at once; what each has read of the others. Names are directories."""
    for each in nodes:
        each.stage(position, each.directory.name, deadline_s)
    return [texts(each.end()) for each in nodes]


def all_but_own(*nodes: NodeProcess) -> list[set[str]]:
    """What `run_stage` gives where everybody has read everybody else."""
    names = {each.directory.name for each in nodes}
    return [names - {each.directory.name} for each in nodes]
