"""A swarm whose list of members is in several buckets, with real daemons: limits of a large one."""

from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from jaxswarm.swarm import shards
from jaxswarm.swarm.config import Limits
from jaxswarm.swarm.identity import open_identity
from tests.swarm.node_process import NodeProcess, until

Make = Callable[..., NodeProcess]

pytestmark = [pytest.mark.faults, pytest.mark.slow]

LIMITS = Limits(split_members=2, max_partners=2)
DEPTH = 2
"""At which eight nodes, two in each bucket, find neither crowds nor solitude."""
NAMES = tuple(f"n{number}" for number in range(8))
SETTLED_ROUND, LAST_ROUND = 4, 10


def identities(directory: Path) -> dict[str, int]:
    """Makes the nodes' keys such that no bucket is fuller than another; their addresses by name."""
    room = {shards.Shard(DEPTH, bucket): len(NAMES) >> DEPTH for bucket in range(1 << DEPTH)}
    addresses: dict[str, int] = {}
    for name in NAMES:
        (directory / name).mkdir()
        key = directory / name / "identity.key"
        while name not in addresses:
            with_key = open_identity(key)
            with_key.close()
            address = shards.address(with_key.peer)
            home = shards.home(address, DEPTH)
            if room[home] > 0:
                room[home] -= 1
                addresses[name] = address
            else:
                key.unlink()
    return addresses


def test_nodes_that_hear_a_part_of_the_swarm_play_its_rounds_together(
    node: Make, tmp_path: Path
) -> None:
    addresses = identities(tmp_path)
    nodes = {NAMES[0]: node(NAMES[0], limits=LIMITS).join()}
    maddr = nodes[NAMES[0]].maddr
    for name in NAMES[1:]:
        nodes[name] = node(name, limits=LIMITS, initial_peers=(maddr,)).join()
    for each in nodes.values():
        each.live(stage_s=0.5, deadline_s=30.0)
    until(lambda: min(each.plays().round for each in nodes.values()) >= LAST_ROUND, 240.0)
    rounds = [each.plays().round for each in nodes.values()]
    assert max(rounds) - min(rounds) <= 2

    def of(buckets: Collection[shards.Shard]) -> set[str]:
        return {name for name in NAMES if shards.home(addresses[name], DEPTH) in buckets}

    for name, each in nodes.items():
        assert len(each.others()) < len(NAMES) - 1, "no node hears them all"
        own = of({shards.home(addresses[name], DEPTH)})
        read: set[str] = set()
        for position, texts in each.played:
            if SETTLED_ROUND <= position.round <= LAST_ROUND:
                assert 0 < len(texts) <= LIMITS.max_partners, position
                assert texts <= of(shards.pair(addresses[name], DEPTH, position.round)), position
                read |= texts
        assert read - own, "in time it reads others than those of its own bucket"
