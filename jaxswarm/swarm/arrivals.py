"""What peers have put out since one last looked, without a wait: for nodes that keep no step."""

import time
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from jaxswarm.records import Position, StageOutput
from jaxswarm.swarm import rounds
from jaxswarm.swarm.waiting import DEFAULTS, Transport

STARTED_OVER = 100
"""Rounds: a peer that is so much further back has begun a new run. Who was killed while it saved
goes on two checkpoints back, which is no further."""


def arrived(
    transport: Transport,
    seen: Mapping[str, Position],
    round_index: int,
    at_most_s: float,
    max_partners: int = DEFAULTS.max_partners,
) -> tuple[StageOutput, ...]:
    """The newest output of each peer that has a newer one than was seen of it.

    Of live peers, and of those who have left of late.

    Args:
      transport: to look and read by.
      seen: by peer, the position of its last output that was read.
      round_index: one's own; it decides whose turn it is where there are many peers.
      at_most_s: how long it may take, in seconds. What is not here then comes another time.
      max_partners: of so many peers at most.

    Returns:
      One output a peer, in the order of the peers' ids.
    """
    deadline = time.monotonic() + at_most_s
    live = transport.look(at_most_s)
    newest = {member.peer: rounds.newest_out(member) for member in (*transport.departed(), *live)}
    news = {peer: at for peer, at in newest.items() if at and _is_new(at, seen.get(peer))}
    by_position: defaultdict[Position, list[str]] = defaultdict(list)
    for peer in rounds.in_turn(round_index, news)[:max_partners]:
        by_position[news[peer]].append(peer)

    def read(position: Position) -> Mapping[str, StageOutput]:
        left_s = max(0.0, deadline - time.monotonic())
        return transport.read(position, sorted(by_position[position]), left_s)

    found: dict[str, StageOutput] = {}
    # All at once: who names a position for which nothing is found takes no time from the others.
    with ThreadPoolExecutor(max(1, len(by_position))) as readers:
        for outputs in readers.map(read, by_position):
            found |= outputs
    return tuple(found[peer] for peer in sorted(found))


def _is_new(at: Position, seen: Position | None) -> bool:
    """Whether a peer's output there comes after the last one that was seen.

    One that resumes says again what it has said since its checkpoint. One that is much further back
    has begun a new run.
    """
    return seen is None or at > seen or at.round < seen.round - STARTED_OVER
