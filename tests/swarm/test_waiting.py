"""The wait for outputs over a network that fails now and then."""

from collections.abc import Collection, Mapping

import pytest

from jaxswarm.records import Position, StageOutput
from jaxswarm.swarm.local_exchange import Hub, LocalExchange
from jaxswarm.swarm.waiting import Waiting
from tests.swarm.node_process import output

ANSWER, CRITIQUE = Position(0, 0), Position(0, 1)
PATIENCE_S = 20.0


class Unsteady(LocalExchange):
    """A node of whose look-ups the first `failing` find nothing."""

    def __init__(self, hub: Hub, peer: str, failing: int):
        super().__init__(hub, peer)
        self.failing = failing
        self.look_ups = 0

    def read(
        self, position: Position, peers: Collection[str], at_most_s: float
    ) -> Mapping[str, StageOutput]:
        self.look_ups += 1
        found = super().read(position, peers, at_most_s)
        return found if self.look_ups > self.failing else {}


def behind(failing: int) -> tuple[Unsteady, LocalExchange]:
    """A node at the answer stage, and one that is past it."""
    hub = Hub()
    a, b = Unsteady(hub, "a", failing), LocalExchange(hub, "b")
    a.announce(ANSWER, False)
    b.announce(CRITIQUE, False)
    return a, b


def test_what_a_peer_ahead_has_published_is_read_although_two_look_ups_fail() -> None:
    a, b = behind(failing=2)
    b.publish(output(b.peer, ANSWER, "t"))
    awaited: list[tuple[str, ...]] = []

    def note(waiting: Waiting) -> bool:
        awaited.append(waiting.missing)
        return True

    gathered = a.gather(ANSWER, PATIENCE_S, note)
    assert gathered.outputs == (output(b.peer, ANSWER, "t"),)
    assert gathered.missing == ()
    assert awaited == [(b.peer,)] * 2


def test_a_peer_ahead_of_which_nothing_is_found_is_not_looked_up_without_end() -> None:
    a, _ = behind(failing=0)
    gathered = a.gather(ANSWER, PATIENCE_S, lambda _: True)
    assert (gathered.outputs, gathered.missing) == ((), ())
    assert a.look_ups == 3
    assert gathered.waited_s < PATIENCE_S / 4


def test_a_peer_ahead_is_missing_if_the_wait_ends_before_its_last_look_up() -> None:
    a, b = behind(failing=2)
    b.publish(output(b.peer, ANSWER, "t"))
    assert a.gather(ANSWER, PATIENCE_S, lambda _: False).missing == (b.peer,)


def test_what_a_peer_had_put_out_when_it_left_is_read() -> None:
    a, b = behind(failing=0)
    b.announce(ANSWER, False)
    b.publish(output(b.peer, ANSWER, "t"))
    b.announce(ANSWER, True)
    b.close()
    gathered = a.gather(ANSWER, PATIENCE_S, lambda _: True)
    assert (gathered.outputs, gathered.missing) == ((output(b.peer, ANSWER, "t"),), ())


def test_a_peer_that_left_before_its_output_was_out_is_not_looked_up() -> None:
    a, b = behind(failing=0)
    b.announce(ANSWER, False)
    b.close()
    gathered = a.gather(ANSWER, PATIENCE_S, lambda _: True)
    assert (gathered.outputs, gathered.missing, a.look_ups) == ((), (), 0)


def test_while_nobody_can_be_asked_no_look_up_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = behind(failing=8)
    b.publish(output(b.peer, ANSWER, "t"))
    monkeypatch.setattr(a, "is_connected", lambda: a.look_ups > 6)
    monkeypatch.setattr(a, "pause", lambda _: None)
    gathered = a.gather(ANSWER, PATIENCE_S, lambda _: True)
    assert gathered.outputs == (output(b.peer, ANSWER, "t"),)
    assert a.look_ups == 9


def test_what_its_writer_says_to_be_out_is_looked_up_until_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b = behind(failing=8)
    monkeypatch.setattr(a, "pause", lambda _: None)
    c = LocalExchange(a._hub, "c")
    a.announce(CRITIQUE, False)
    b.publish(output(b.peer, ANSWER, "t"))
    b.announce(ANSWER, True)
    c.announce(CRITIQUE, False)
    gathered = a.gather(CRITIQUE, PATIENCE_S, lambda _: a.look_ups < 9, {ANSWER: (b.peer,)})
    assert gathered.late == (output(b.peer, ANSWER, "t"),)


def test_what_a_peer_never_had_is_not_looked_up_without_end() -> None:
    a, b = behind(failing=0)
    a.announce(CRITIQUE, False)
    waited = []

    def note(waiting: Waiting) -> bool:
        waited.append(waiting.missing)
        return len(waited) < 9

    gathered = a.gather(CRITIQUE, PATIENCE_S, note, {ANSWER: (b.peer,)})
    assert (gathered.late, gathered.missing) == ((), (b.peer,))
    assert a.look_ups == 3
