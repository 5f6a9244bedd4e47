"""The in-memory swarm. Its rules and waits are those of the real one."""

import threading
import time
from collections.abc import Callable
from random import Random

from jaxswarm.records import STAGES, Position, Reply, StageOutput
from jaxswarm.swarm.config import Limits
from jaxswarm.swarm.exchange import Exchange
from jaxswarm.swarm.local_exchange import Hub, LocalExchange
from jaxswarm.swarm.waiting import Waiting
from tests.swarm.node_process import until

ANSWER, CRITIQUE = Position(0, 0), Position(0, 1)
PATIENCE_S = 20.0


def patient(_: Waiting) -> bool:
    """For waits whose progress is of no interest."""
    return True


class Listener:
    """Keeps what it is told; patient for so many calls."""

    def __init__(self, calls: int = 10**6):
        self.said: list[Waiting] = []
        self._calls = calls

    def __call__(self, waiting: Waiting) -> bool:
        self.said.append(waiting)
        return len(self.said) < self._calls


def output(peer: str, position: Position, text: str = "t") -> StageOutput:
    return StageOutput(peer, position, (Reply("0123456789abcdef", text),))


def swarm_of(count: int) -> list[LocalExchange]:
    hub = Hub()
    nodes = [LocalExchange(hub, f"node{index}") for index in range(count)]
    for node in nodes:
        node.join()
        node.announce(ANSWER, False)
    return nodes


def publish(node: LocalExchange, position: Position, text: str = "t") -> None:
    node.announce(position, False)
    node.publish(output(node.peer, position, text))
    node.announce(position, True)


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_alone_nothing_is_waited_for() -> None:
    node: Exchange = LocalExchange(Hub(), "solo")
    node.join()
    assert node.target(ANSWER, joining=True) == ANSWER
    node.wait_for(Position(9, 0), PATIENCE_S, patient)
    node.announce(ANSWER, False)
    node.publish(output("solo", ANSWER))
    gathered = node.gather(ANSWER, PATIENCE_S, patient)
    assert gathered.outputs == gathered.missing == ()
    assert gathered.waited_s < 1.0
    assert node.refused() == {}
    node.close()
    node.close()


def test_nodes_of_uneven_pace_read_all_of_each_other_at_every_stage() -> None:
    nodes = swarm_of(4)
    read: dict[str, list[tuple[str, ...]]] = {node.peer: [] for node in nodes}

    def live(node: LocalExchange) -> None:
        random, position = Random(node.peer), ANSWER
        for _ in range(4 * len(STAGES)):
            assert node.target(position) == position
            time.sleep(random.uniform(0.0, 0.01))
            publish(node, position)
            gathered = node.gather(position, PATIENCE_S, patient)
            read[node.peer].append(tuple(each.peer for each in gathered.outputs))
            position = position.next()

    threads = [in_thread(lambda node=node: live(node)) for node in nodes]
    for thread in threads:
        thread.join()
    for peer, stages in read.items():
        others = tuple(node.peer for node in nodes if node.peer != peer)
        assert stages == [others] * 12


def test_a_silent_peer_holds_the_stage_until_the_deadline_and_is_named() -> None:
    a, b, c = swarm_of(3)
    publish(b, ANSWER)
    listener = Listener()
    gathered = a.gather(ANSWER, 0.2, listener)
    assert gathered.missing == (c.peer,)
    assert [each.peer for each in gathered.outputs] == [b.peer]
    assert 0.2 <= gathered.waited_s < PATIENCE_S
    first = listener.said[0]
    assert first.missing == (c.peer,)
    assert (first.position, first.deadline_s) == (ANSWER, 0.2)


def test_a_wait_ends_when_the_node_says_so() -> None:
    a, b = swarm_of(2)
    gathered = a.gather(ANSWER, PATIENCE_S, Listener(calls=1))
    assert gathered.missing == (b.peer,)
    assert gathered.waited_s < 1.0
    a.wait_for(Position(5, 0), PATIENCE_S, Listener(calls=1))


def test_the_first_stage_can_wait_for_so_many_peers() -> None:
    a, b, _ = swarm_of(3)
    listener = Listener()
    late = threading.Timer(0.1, LocalExchange(a._hub, "late").announce, (ANSWER, False))
    late.start()
    a.wait_for_peers(ANSWER, 3, PATIENCE_S, listener)
    assert a.peers()[0].peer == "late"
    assert len(listener.said[0].missing) == 1
    late.join()
    start = time.monotonic()
    b.wait_for_peers(ANSWER, 4, 0.2, patient)
    assert 0.2 <= time.monotonic() - start < PATIENCE_S


def test_an_output_whose_announcement_was_lost_is_read_shortly_before_the_deadline() -> None:
    a, b = swarm_of(2)
    b.publish(output(b.peer, ANSWER))
    gathered = a.gather(ANSWER, 0.4, patient)
    assert gathered.outputs == (output(b.peer, ANSWER),)
    assert 0.3 <= gathered.waited_s < 0.4


def test_a_peer_that_leaves_is_waited_for_no_longer() -> None:
    a, b = swarm_of(2)
    leave = threading.Timer(0.1, b.close)
    leave.start()
    gathered = a.gather(ANSWER, PATIENCE_S, patient)
    assert gathered.missing == ()
    assert gathered.waited_s < PATIENCE_S / 2
    leave.join()


def test_a_peer_one_stage_behind_is_waited_for() -> None:
    a, b = swarm_of(2)
    publish(a, CRITIQUE)
    late = threading.Timer(0.1, publish, (b, CRITIQUE))
    late.start()
    assert [each.peer for each in a.gather(CRITIQUE, PATIENCE_S, patient).outputs] == [b.peer]
    late.join()


def test_what_a_peer_ahead_has_published_is_read_without_a_wait() -> None:
    a, b = swarm_of(2)
    publish(b, ANSWER, "early")
    b.announce(CRITIQUE, False)
    gathered = a.gather(ANSWER, PATIENCE_S, patient)
    assert gathered.outputs == (output(b.peer, ANSWER, "early"),)
    assert gathered.waited_s < 1.0


def test_what_was_missing_is_read_later_once_it_is_out_and_not_waited_for() -> None:
    a, b = swarm_of(2)
    assert a.gather(ANSWER, 0.1, patient).missing == (b.peer,)
    owed = {ANSWER: (b.peer,)}
    a.announce(CRITIQUE, False)
    assert a.gather(CRITIQUE, 0.1, patient, owed).late == ()
    publish(b, ANSWER, "late")
    b.announce(CRITIQUE, False)
    publish(b, CRITIQUE, "in time")
    gathered = a.gather(CRITIQUE, PATIENCE_S, patient, owed)
    assert gathered.late == (output(b.peer, ANSWER, "late"),)
    assert gathered.outputs == (output(b.peer, CRITIQUE, "in time"),)
    assert gathered.waited_s < 1.0


def test_a_swarm_in_one_process_keeps_two_rounds_of_each_peer() -> None:
    hub = Hub()
    a, b = LocalExchange(hub, "a"), LocalExchange(hub, "b")
    for round_ in range(4):
        publish(a, Position(round_, 0))
    publish(b, ANSWER)
    found = [hub.read(Position(round_, 0), ("a", "b")).keys() for round_ in range(4)]
    assert found == [{"b"}, set(), {"a"}, {"a"}]


def test_an_output_once_out_can_not_be_changed() -> None:
    a, b = swarm_of(2)
    publish(b, ANSWER, "first")
    publish(b, ANSWER, "second")
    assert a.gather(ANSWER, PATIENCE_S, patient).outputs == (output(b.peer, ANSWER, "first"),)


def test_a_joiner_in_mid_round_waits_idle_and_starts_with_the_others() -> None:
    nodes = swarm_of(2)
    a, b = nodes
    for node in nodes:
        publish(node, ANSWER)
    joiner = LocalExchange(a._hub, "joiner")
    next_answer = joiner.target(ANSWER, joining=True)
    assert next_answer == Position(1, 0)
    listener = Listener()
    idle = in_thread(lambda: joiner.wait_for(next_answer, PATIENCE_S, listener))
    until(lambda: any(member.waiting for member in a.peers()))
    for position in (CRITIQUE, Position(0, 2)):
        publish(b, position)
        publish(a, position)
        assert a.gather(position, PATIENCE_S, patient).missing == ()
        assert a.target(position.next()) == position.next()
    assert idle.is_alive()
    a.announce(next_answer, False)
    idle.join(PATIENCE_S)
    assert not idle.is_alive()
    assert listener.said[0].missing == (a.peer, b.peer)


def test_a_wait_for_a_round_that_never_comes_ends_at_its_deadline() -> None:
    a, b = swarm_of(2)
    start = time.monotonic()
    a.wait_for(Position(5, 0), 0.2, patient)
    assert 0.2 <= time.monotonic() - start < PATIENCE_S
    assert b.peers()[0].waiting


def test_in_a_large_swarm_all_read_the_same_few_and_wait_for_no_others() -> None:
    nodes, most = swarm_of(40), Limits().max_partners
    silent = {"node0"}
    for node in nodes:
        if node.peer not in silent:
            publish(node, ANSWER)
    read = {node.peer: node.gather(ANSWER, 0.5, patient) for node in nodes}
    everybody = {each.peer for gathered in read.values() for each in gathered.outputs}
    assert len(everybody) <= most + 1, "each but oneself: who is chosen has one place to give"
    for gathered in read.values():
        assert len(gathered.outputs) + len(gathered.missing) == most
        assert set(gathered.missing) <= silent
