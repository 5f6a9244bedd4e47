"""The p2p daemon of a node is killed or stopped at the worst moment; the node learns on."""

import time
from collections.abc import Callable

import pytest

from jaxswarm.records import Position
from tests.swarm.node_process import NodeProcess, until
from tests.swarm.swarm_steps import PATIENCE_S, announce, run_stage, texts

Make = Callable[..., NodeProcess]

pytestmark = pytest.mark.faults

ANSWER, CRITIQUE = Position(0, 0), Position(0, 1)
NOTICED_S = 15.0
DEFAULT_WATCH = {"watch_s": 2.0, "call_timeout_s": 10.0, "member_ttl_s": 60.0}
"""Those of a run, not of a hasty test."""


@pytest.fixture
def pair(node: Make) -> tuple[NodeProcess, NodeProcess]:
    """Two nodes of one swarm that hear each other at the answer stage of round 0."""
    a = node("a", **DEFAULT_WATCH).join()
    b = node("b", initial_peers=(a.maddr,), **DEFAULT_WATCH).join()
    announce(ANSWER, a, b)
    return a, b


def stop(node: NodeProcess) -> None:
    node.daemon().suspend()


def kill(node: NodeProcess) -> None:
    node.daemon().kill()


@pytest.mark.slow
@pytest.mark.parametrize("harm", [kill, stop])
@pytest.mark.parametrize("victim", ["a", "b"])
def test_a_daemon_that_dies_or_hangs_is_noticed_replaced_and_joins_again(
    pair, harm: Callable[[NodeProcess], None], victim: str
) -> None:
    node = next(each for each in pair if each.directory.name == victim)
    maddr, harmed_at = node.maddr, time.monotonic()
    harm(node)
    until(lambda: node.told("the p2p daemon doesn't answer"), NOTICED_S)
    assert time.monotonic() - harmed_at < NOTICED_S
    until(lambda: node.told("the p2p daemon runs again"))
    assert node.maddr == maddr
    assert run_stage(ANSWER, *pair) == [{"b"}, {"a"}]
    announce(CRITIQUE, *pair)
    assert run_stage(CRITIQUE, *pair) == [{"b"}, {"a"}]


@pytest.mark.slow
def test_a_stage_waits_for_a_hanging_daemon_no_longer_than_its_deadline(pair) -> None:
    a, _ = pair
    deadline_s = 6.0
    a.begin("gather", ANSWER, deadline_s)
    time.sleep(1.0)  # the wait is under way: there is no event to see it by
    a.daemon().suspend()
    gathered = a.end()
    assert deadline_s <= gathered.waited_s < deadline_s + 1.0
    a.begin("gather", CRITIQUE, deadline_s)  # with a daemon that hung before the stage began
    assert a.end().waited_s < deadline_s + 1.0


@pytest.mark.slow
def test_what_is_published_while_the_daemon_is_away_is_out_once_it_is_back(pair) -> None:
    a, b = pair
    a.daemon().suspend()
    a.stage(ANSWER, "a", 1.0)
    a.end()
    assert a.told("is not out yet")
    b.stage(ANSWER, "b", PATIENCE_S)
    assert texts(b.end()) == {"a"}
