"""Nodes of very different speed in one swarm, with real daemons."""

import time
from collections.abc import Callable

import pytest

from jaxswarm.records import Position
from tests.swarm.node_process import NodeProcess, output, until
from tests.swarm.swarm_steps import announce, texts

Make = Callable[..., NodeProcess]

pytestmark = pytest.mark.faults

ANSWER, CRITIQUE = Position(0, 0), Position(0, 1)
DEADLINE_S = 2.0


@pytest.fixture
def trio(node: Make) -> tuple[NodeProcess, NodeProcess, NodeProcess]:
    """Three nodes that hear each other at the answer stage of round 0."""
    a = node("a").join()
    b, c = (node(name, initial_peers=(a.maddr,)).join() for name in "bc")
    announce(ANSWER, a, b, c)
    return a, b, c


def test_a_slow_peer_holds_no_one_past_the_deadline_and_its_late_text_is_read(trio) -> None:
    a, b, slow = trio
    for each in (a, b):
        each.stage(ANSWER, each.directory.name, DEADLINE_S)
    for each, other in ((a, "b"), (b, "a")):
        gathered = each.end()
        assert texts(gathered) == {other}
        assert gathered.missing == (slow.peer,)
        assert DEADLINE_S <= gathered.waited_s < DEADLINE_S + 1.0

    for each in (a, b):
        each.call("announce", CRITIQUE, False)
        each.begin("gather", CRITIQUE, 2 * DEADLINE_S, owed={ANSWER: (slow.peer,)})
    slow.call("publish", output(slow.peer, ANSWER, "late"))
    slow.call("announce", ANSWER, True)
    for each in (a, b):
        assert each.end().late == (output(slow.peer, ANSWER, "late"),)


@pytest.mark.slow
def test_a_swarm_of_fast_and_slow_nodes_plays_on_at_the_deadline(trio) -> None:
    """One stage of the slow node takes longer than a whole round's deadlines."""
    a, b, slow = trio
    deadline_s = 2 * DEADLINE_S  # on a busy machine a fast node may take longer than one
    for each in (a, b):
        each.live(stage_s=0.1, deadline_s=deadline_s)
    slow.live(stage_s=4 * deadline_s, deadline_s=deadline_s)
    began = time.monotonic()
    until(lambda: min(each.plays().round for each in (a, b)) >= 3, 120.0)
    stages = 3 * 3 + 1
    assert time.monotonic() - began < 3 * stages * deadline_s
    for each, other in ((a, "b"), (b, "a")):
        assert all(other in read for _, read in each.played), "the fast ones miss nothing"
    until(lambda: slow.plays().round >= 1, 120.0)
