"""A swarm whose list of members is in several buckets, with real daemons: limits of a large one."""

from collections.abc import Callable

import pytest
from node_process import NodeProcess, until

from jaxswarm.swarm.config import Limits

Make = Callable[..., NodeProcess]

pytestmark = [pytest.mark.faults, pytest.mark.slow]

LIMITS = Limits(split_members=4, max_partners=2)
COUNT = 8


def test_nodes_that_hear_a_part_of_the_swarm_play_its_rounds_together(node: Make) -> None:
    first = node("n0", limits=LIMITS).join()
    nodes = [first]
    nodes += [
        node(f"n{number}", limits=LIMITS, initial_peers=(first.maddr,)).join()
        for number in range(1, COUNT)
    ]
    for each in nodes:
        each.live(stage_s=0.5, deadline_s=30.0)
    until(lambda: min(each.plays().round for each in nodes) >= 8, 240.0)
    rounds = [each.plays().round for each in nodes]
    assert max(rounds) - min(rounds) <= 2

    for each in nodes:
        heard_now = each.others()
        assert len(heard_now) < COUNT - 1, "no node hears them all"
        played = [texts for position, texts in each.played if position.round >= 3]
        assert all(len(texts) <= LIMITS.max_partners for texts in played)
        # Now and then it is paired with nobody, or its bucket is its own alone.
        assert sum(map(bool, played)) > len(played) / 2
        assert len(frozenset().union(*played)) > LIMITS.max_partners, "in time it reads others"
