"""Nodes whose clocks differ."""

from collections.abc import Callable

import pytest

from jaxswarm.records import STAGES, Position
from jaxswarm.swarm.clocks import MAX_SKEW_S, complaints
from tests.swarm.node_process import NodeProcess, until
from tests.swarm.swarm_steps import all_but_own, announce, run_stage

Make = Callable[..., NodeProcess]

pytestmark = pytest.mark.faults

ANSWER = Position(0, 0)


@pytest.mark.parametrize("member_ttl_s", [5.0, 20.0])
def test_a_skew_of_30_s_does_no_harm_and_is_not_worth_a_word(
    node: Make, member_ttl_s: float
) -> None:
    """The first node is 29.5 s behind the last, which is the widest pair."""
    settings = {"member_ttl_s": member_ttl_s, "output_ttl_s": 60.0}
    a = node("a", clock_ahead_s=-14.5, **settings).join()
    joins = {"initial_peers": (a.maddr,)}
    b = node("b", **joins, **settings).join()
    c = node("c", clock_ahead_s=15.0, **joins, **settings).join()
    announce(ANSWER, a, b, c)
    for index in range(len(STAGES)):
        assert run_stage(Position(0, index), a, b, c) == all_but_own(a, b, c)
    assert [each.told("clock") for each in (a, b, c)] == [[], [], []]


@pytest.mark.parametrize("ahead_s", [-400.0, -40.0, 40.0, 400.0])
def test_a_larger_skew_is_named_by_both_sides(node: Make, ahead_s: float) -> None:
    a = node("a").join()
    b = node("b", clock_ahead_s=ahead_s, initial_peers=(a.maddr,)).join()
    of_b, of_a = ("behind", "ahead of") if ahead_s < 0 else ("ahead of", "behind")
    for each, other, word in ((a, b, of_b), (b, a, of_a)):
        (line,) = until(lambda each=each: each.told("clock"))
        assert f"the clock of peer {other.peer} is {abs(ahead_s):.0f} s {word} this node's" in line


def test_who_differs_from_most_is_told_that_it_is_he(node: Make) -> None:
    a = node("a").join()
    b = node("b", initial_peers=(a.maddr,)).join()
    announce(ANSWER, a, b)
    c = node("c", clock_ahead_s=-90.0, initial_peers=(a.maddr, b.maddr)).join()
    line = until(lambda: c.told("this node's clock is 90 s behind those of 2 of 2 peers"))
    assert "NTP" in line[0]


def test_a_clock_that_is_set_back_makes_nobody_dead(node: Make) -> None:
    a = node("a", member_ttl_s=5.0).join()
    b = node("b", member_ttl_s=5.0, initial_peers=(a.maddr,)).join()
    announce(ANSWER, a, b)
    b.call("set_clock", -30.0)
    for index in range(1, 3):
        announce(Position(0, index), a, b)
        assert run_stage(Position(0, index), a, b) == all_but_own(a, b)


def test_clocks_within_the_bound_are_not_mentioned() -> None:
    assert complaints({}) == complaints({"p": MAX_SKEW_S, "q": -MAX_SKEW_S}) == {}


def test_one_of_many_that_is_off_is_named() -> None:
    lines = complaints({"p": 0.1, "q": -0.2, "liar": 1e9})
    assert lines.keys() == {"liar"}


def test_clocks_that_are_off_both_ways_blame_nobody_in_particular() -> None:
    assert complaints({"p": 100.0, "q": -100.0}).keys() == {"p", "q"}
