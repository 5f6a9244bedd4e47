"""What a node asks of the swarm does not grow with it: benchmarks/scale_simulation.py."""

import pytest

from benchmarks.scale import SPENT, simulated
from benchmarks.scale_simulation import START, Simulation
from jaxswarm.records import Position
from jaxswarm.swarm.config import Limits

pytestmark = pytest.mark.faults

LIMITS = Limits(split_members=8, max_partners=4)
"""A quarter of the real ones, so that forty nodes are many."""


@pytest.mark.slow
def test_four_times_as_many_nodes_cost_each_node_no_more() -> None:
    few, many = (simulated(size, LIMITS, warm_up_s=90, seconds=120) for size in (32, 128))
    assert many["depth_of_the_list"] > few["depth_of_the_list"]
    for name in SPENT:
        what = f"{name}_per_stage"
        assert many[what] < 1.4 * few[what], what
    assert many["members_remembered"] < 64
    for figures in (few, many):
        assert figures["stages"] >= 2 * figures["nodes"], "they play"
        assert figures["largest_spread_in_stages"] <= 3, "none is further than a round from another"
        assert figures["outputs_missing"] < 0.1
        assert figures["readers_of_an_output"] < 32, "no place draws all of them"


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
