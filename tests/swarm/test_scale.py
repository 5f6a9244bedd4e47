"""What a node asks of the swarm does not grow with it: benchmarks/scale_simulation.py."""

import pytest

from benchmarks.scale_simulation import START, Simulation
from jaxswarm.records import Position
from jaxswarm.swarm.config import Limits

LIMITS = Limits(split_members=8, max_partners=4)
"""A quarter of the real ones, so that forty nodes are many."""


def spent_per_stage(nodes: int, seconds: int) -> dict[str, float]:
    swarm = Simulation(nodes, LIMITS)
    swarm.run(seconds)
    stages = sum(node.stages for node in swarm.nodes)
    assert stages >= nodes * (seconds // 60 - 1), "they play"
    assert swarm.spread() <= 3, "none is further than a round behind another"
    return {
        what: sum(getattr(node.traffic, what) for node in swarm.nodes) / stages
        for what in ("gets", "bytes_received", "records_read")
    } | {
        "largest_reply": max(node.traffic.largest_reply for node in swarm.nodes),
        "remembered": max(node.neighbourhood.remembered for node in swarm.nodes),
        "readers": max(swarm.dht.readers.values()),
    }


@pytest.mark.faults
def test_four_times_as_many_nodes_cost_each_node_no_more() -> None:
    few, many = (spent_per_stage(nodes, 180) for nodes in (24, 96))
    for what, spent in many.items():
        assert spent < 1.5 * few[what], what


def test_a_swarm_that_grows_and_shrinks_changes_the_depth_of_its_list() -> None:
    swarm = Simulation(40, LIMITS)
    swarm.run(60)
    assert {node.neighbourhood.home.depth for node in swarm.nodes} <= {2, 3}
    swarm.kill({node.peer for node in swarm.nodes[5:]})
    swarm.run(150)
    assert {node.neighbourhood.home.depth for node in swarm.nodes} == {0}
    alive = {node.peer for node in swarm.nodes}
    for node in swarm.nodes:
        heard = {m.peer for m in node.neighbourhood.live(node.position.round, swarm.now)}
        assert heard == alive - {node.peer}


def test_a_newcomer_to_a_large_swarm_finds_its_round() -> None:
    swarm = Simulation(40, LIMITS)
    late = swarm.nodes.pop()
    swarm.run(200)
    assert min(node.position for node in swarm.nodes) > Position(0, 2)
    swarm.nodes.append(late)
    assert late.position == START
    swarm.run(100)
    rounds = sorted(node.position.round for node in swarm.nodes)
    assert rounds[0] <= late.position.round <= rounds[-1]
    assert late.stages > 0
