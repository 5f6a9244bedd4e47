"""What has arrived since the last look: in one process, and over real daemons."""

import time
from collections.abc import Callable, Collection, Mapping

from jaxswarm.records import Position, StageOutput
from jaxswarm.swarm import arrivals
from jaxswarm.swarm.local_exchange import Hub, LocalExchange
from tests.swarm.node_process import NodeProcess, output, until

SECOND, THIRD = Position(1, 0), Position(2, 0)


def swarm_of(*names: str) -> list[LocalExchange]:
    hub = Hub()
    return [LocalExchange(hub, name) for name in names]


def say(node: LocalExchange, position: Position) -> None:
    node.publish(output(node.peer, position, f"{node.peer} {position.round}"))
    node.announce(position, published=True)


def test_the_newest_of_each_peer_whatever_its_round_and_nothing_twice() -> None:
    a, b, c = swarm_of("a", "b", "c")
    say(b, SECOND)
    say(c, SECOND)
    say(c, THIRD)
    news = a.arrived({}, 0)
    assert [(each.peer, each.position) for each in news] == [("b", SECOND), ("c", THIRD)]
    seen = {each.peer: each.position for each in news}
    assert a.arrived(seen, 0) == ()
    say(b, THIRD)
    assert [each.peer for each in a.arrived(seen, 0)] == ["b"]


def test_of_a_peer_at_work_the_round_before_and_of_one_that_waits_nothing() -> None:
    a, b, c = swarm_of("a", "b", "c")
    say(b, SECOND)
    b.announce(THIRD, published=False)
    c.announce(Position(0, 0), published=False)
    assert [each.position for each in a.arrived({}, 0)] == [SECOND]
    b.wait_for_peers(THIRD, 2, 0.0, lambda _: True)
    assert a.arrived({}, 0) == ()


def test_what_a_peer_had_said_when_it_left_is_news_once() -> None:
    a, b = swarm_of("a", "b")
    say(b, SECOND)
    b.close()
    assert [each.position for each in a.arrived({}, 0)] == [SECOND]
    assert a.arrived({b.peer: SECOND}, 0) == ()


def test_of_many_peers_some_and_others_in_another_round() -> None:
    a, *others = swarm_of("a", *(f"peer {index}" for index in range(40)))
    for other in others:
        say(other, SECOND)
    heard = [{each.peer for each in a.arrived({}, round_)} for round_ in range(20)]
    assert {len(peers) for peers in heard} == {16}
    assert len(set().union(*heard)) == 40


class BesideLiars(LocalExchange):
    """A node in whose network it takes all the time there is to find nothing before THIRD."""

    def read(
        self, position: Position, peers: Collection[str], at_most_s: float
    ) -> Mapping[str, StageOutput]:
        if position < THIRD:
            time.sleep(at_most_s)
        return super().read(position, peers, at_most_s) if at_most_s > 0 else {}


def test_liars_at_low_rounds_take_no_time_from_the_others() -> None:
    a, b, *liars = swarm_of("a", "b", "liar", "another liar")
    for round_, liar in enumerate(liars):
        liar.announce(Position(round_, 0), published=True)
    say(b, THIRD)
    (news,) = arrivals.arrived(BesideLiars(a._hub, a.peer), {}, 0, 0.5)
    assert (news.peer, news.position) == (b.peer, THIRD)


def test_over_real_daemons_it_comes_without_a_wait_and_once(
    node: Callable[..., NodeProcess],
) -> None:
    a = node("a").join()
    b = node("b", initial_peers=(a.maddr,)).join()
    a.call("announce", Position(0, 0), False)
    for position in (SECOND, THIRD):
        b.call("publish", output(b.peer, position, f"b {position.round}"))
        b.call("announce", position, True)
        until(lambda: a.call("arrived", {b.peer: Position(position.round - 1, 0)}, 0))  # noqa: B023
    (news,) = a.call("arrived", {}, 0)
    assert news == output(b.peer, THIRD, "b 2")
    assert a.call("arrived", {b.peer: THIRD}, 0) == ()


def test_of_a_peer_that_resumed_nothing_is_read_again_and_of_one_that_began_anew_all() -> None:
    a, b, c = swarm_of("a", "b", "c")
    say(b, SECOND)
    say(c, SECOND)
    late = 1 + arrivals.STARTED_OVER
    seen = {"b": Position(late, 0), "c": Position(late + 1, 0)}
    assert [each.peer for each in a.arrived(seen, 0)] == ["c"]
