"""The two waits of a node, for its peers' outputs and for its round, over any transport."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from jaxswarm.records import Position, StageOutput
from jaxswarm.swarm import rounds
from jaxswarm.swarm.config import Limits
from jaxswarm.swarm.rounds import Member


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a node waits for right now, for the status line.

    `missing`: the peers waited for. `deadline_s`: when it goes on without the missing ones, in
    seconds from the start of the wait.
    """

    position: Position
    missing: tuple[str, ...]
    waited_s: float
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a stage brought in.

    `outputs`: one per peer that was read, without one's own, in the order of the peers' ids.
    `missing`: the peers that were waited for in vain. `refused`: records refused since the node
    started, by reason. `late`: outputs of earlier stages that were missing then and came meanwhile.
    """

    outputs: tuple[StageOutput, ...]
    missing: tuple[str, ...]
    refused: Mapping[str, int]
    waited_s: float
    late: tuple[StageOutput, ...] = ()


DEFAULTS = Limits()

Owed = Mapping[Position, Collection[str]]
"""By earlier stage, the peers whose outputs were missing then."""

NOTHING_OWED: Owed = MappingProxyType({})


LAST_CALL_S = 5.0
"""How long before the deadline the outputs of all who are still awaited are looked up."""

LOOK_UPS = 3
"""Of an output that its writer does not say to be out just now, being past the stage or gone: a
look-up may fail, or come before all is stored. What is not found then is not there."""

OWED_S = 2.0
"""That a look-up of what is owed may take: what this stage is about may all be in hand."""

OnWait = Callable[[Waiting], bool]
"""Called again and again while a node waits; False ends the wait."""


class Transport(Protocol):
    """What the waits need of an exchange."""

    def look(self, at_most_s: float) -> tuple[Member, ...]:
        """The live members as they are now, this node left out; as heard last if that takes longer
        than `at_most_s` seconds."""
        ...

    def departed(self) -> tuple[Member, ...]:
        """The members who have left of late, as they were then."""
        ...

    def is_connected(self) -> bool:
        """Whether anybody can be asked just now; if not, `read` finds nothing."""
        ...

    def read(
        self, position: Position, peers: Collection[str], at_most_s: float
    ) -> Mapping[str, StageOutput]:
        """The outputs of these peers for `position`, as far as they are out, valid and here after
        `at_most_s` seconds. Several threads may read at once."""
        ...

    def pause(self, at_most_s: float) -> None:
        """Sleeps until there may be something new to see, but no longer than told."""
        ...

    def refused(self) -> Mapping[str, int]: ...


def gather(
    transport: Transport,
    position: Position,
    deadline_s: float,
    on_wait: OnWait,
    owed: Owed = NOTHING_OWED,
    max_partners: int = DEFAULTS.max_partners,
) -> Gathered:
    """Reads outputs until every expected one is in hand, or `deadline_s` seconds have passed.

    What is owed from earlier stages is read when its writer says that it is out, and not waited
    for.

    Who counts follows from the heartbeats of each moment: a peer that dies in the meantime is no
    longer waited for, one that appears is. One that is past the stage, or has left when its output
    was out, is waited for only as long as a few look-ups take, once anybody can be asked. A network
    that hangs holds nobody past the deadline.
    Of many others `max_partners` are read and waited for: see `rounds.partners`.
    """
    start = time.monotonic()
    last_call_s = deadline_s - min(LAST_CALL_S, deadline_s / 4)
    called = False
    outputs: dict[str, StageOutput] = {}
    looked_up: Counter[tuple[Position, str]] = Counter()
    late: dict[tuple[Position, str], StageOutput] = {}

    def gathered(missing: tuple[str, ...], waited_s: float) -> Gathered:
        in_order = tuple(late[key] for key in sorted(late))
        return Gathered(_sorted(outputs), missing, transport.refused(), waited_s, in_order)

    def left_s() -> float:
        return max(0.0, start + deadline_s - time.monotonic())

    def untried(at: Position, peers: Collection[str]) -> set[str]:
        return {peer for peer in peers if looked_up[at, peer] < LOOK_UPS}

    def count(at: Position, peers: Collection[str]) -> None:
        if transport.is_connected():  # else nobody was asked
            looked_up.update((at, peer) for peer in peers)

    while True:
        others, departed = transport.look(left_s()), transport.departed()
        heard = (*others, *rounds.gone_past(position, departed))
        partners = rounds.partners(position, heard, outputs.keys(), max_partners)
        awaited = rounds.to_await(position, partners)
        past = untried(position, rounds.to_read_once(position, partners) - outputs.keys())
        out = rounds.said_published(position, partners)
        if not called and time.monotonic() - start >= last_call_s:
            called, out = True, awaited  # where the last heartbeat was lost, the output may be out
        wanted = (out | past) - outputs.keys()
        if wanted:
            outputs.update(transport.read(position, sorted(wanted), left_s()))
        count(position, past)
        past = untried(position, past)
        for earlier, peers in owed.items():
            heard = (*others, *rounds.gone_past(earlier, departed))
            lacking = {peer for peer in peers if (earlier, peer) not in late}
            out = rounds.said_published(earlier, heard) & lacking
            gone_on = untried(earlier, rounds.to_read_once(earlier, heard) & lacking)
            if out or gone_on:
                found = transport.read(earlier, sorted(out | gone_on), min(left_s(), OWED_S))
                late.update({(earlier, peer): output for peer, output in found.items()})
                count(earlier, gone_on)
        missing = tuple(sorted((awaited | past) - outputs.keys()))
        waited_s = time.monotonic() - start
        if not missing or waited_s >= deadline_s:
            return gathered(missing, waited_s)
        still = Waiting(position, missing, waited_s, deadline_s)
        if not on_wait(still):
            return gathered(missing, waited_s)
        until_s = deadline_s if called else last_call_s
        transport.pause(max(0.0, until_s - waited_s))


def wait_for(transport: Transport, position: Position, deadline_s: float, on_wait: OnWait) -> None:
    """Returns when the swarm has reached the round of `position`, or after `deadline_s` seconds.

    Earlier if the swarm turns out to be elsewhere: what the node heard when it began to wait was
    perhaps half of it.
    """
    start = time.monotonic()
    while True:
        others = transport.look(max(0.0, start + deadline_s - time.monotonic()))
        waited_s = time.monotonic() - start
        if rounds.may_start(position, others) or waited_s >= deadline_s:
            return
        if rounds.go_on(position, others, joining=False) != position:
            return
        behind = tuple(m.peer for m in others if m.position.round < position.round)
        if not on_wait(Waiting(position, behind, waited_s, deadline_s)):
            return
        transport.pause(deadline_s - waited_s)


def wait_for_peers(
    transport: Transport, position: Position, count: int, deadline_s: float, on_wait: OnWait
) -> None:
    """Returns when `count` peers are live, or after `deadline_s` seconds."""
    start = time.monotonic()
    while True:
        left_s = max(0.0, start + deadline_s - time.monotonic())
        lacking = count - len(transport.look(left_s))
        waited_s = time.monotonic() - start
        if lacking <= 0 or waited_s >= deadline_s:
            return
        if not on_wait(Waiting(position, ("unknown",) * lacking, waited_s, deadline_s)):
            return
        transport.pause(deadline_s - waited_s)


def _sorted(outputs: Mapping[str, StageOutput]) -> tuple[StageOutput, ...]:
    return tuple(outputs[peer] for peer in sorted(outputs))
