"""A swarm inside one process, with the manners of a real one."""

import threading
import time
from collections.abc import Collection, Mapping
from types import MappingProxyType

from jaxswarm.records import Position, StageOutput
from jaxswarm.swarm import arrivals, rounds, waiting
from jaxswarm.swarm.rounds import Member
from jaxswarm.swarm.waiting import NOTHING_OWED, Gathered, OnWait, Owed

LOOK_S = 0.5
"""Between two looks of a node that waits in one process, where nothing changes meanwhile."""


class Hub:
    """The swarm of one process: who is in it, and what was published. Safe between threads.

    A member stays live until it leaves: threads of one process have no silent deaths to time out.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._version = 0
        self._members: dict[str, Member] = {}
        self._departed: dict[str, Member] = {}
        self._outputs: dict[tuple[Position, str], StageOutput] = {}

    def announce(self, peer: str, position: Position, *, published: bool, waiting: bool) -> None:
        with self._changed:
            self._members[peer] = Member(peer, position, published, waiting, time.monotonic())
            self._departed.pop(peer, None)
            self._touch()

    def publish(self, output: StageOutput) -> None:
        """Keeps the first output of a peer for a position, as every reader of the DHT does.

        Of each peer two rounds are kept: nobody reads earlier ones.
        """
        own, oldest = output.peer, output.position.round - 1
        with self._changed:
            for position, peer in list(self._outputs):
                if peer == own and position.round < oldest:
                    del self._outputs[position, peer]
            self._outputs.setdefault((output.position, own), output)
            self._touch()

    def leave(self, peer: str) -> None:
        with self._changed:
            if member := self._members.pop(peer, None):
                self._departed[peer] = member
            self._touch()

    def others(self, peer: str) -> tuple[tuple[Member, ...], int]:
        """The members without `peer`, in the order of their ids, and the version seen."""
        with self._changed:
            seen = (m for m in self._members.values() if m.peer != peer)
            return tuple(sorted(seen, key=lambda m: m.peer)), self._version

    def departed(self) -> tuple[Member, ...]:
        """Those who left, as they were then, in the order of their ids."""
        with self._changed:
            return tuple(self._departed[peer] for peer in sorted(self._departed))

    def read(self, position: Position, peers: Collection[str]) -> dict[str, StageOutput]:
        with self._changed:
            keys = ((peer, self._outputs.get((position, peer))) for peer in peers)
            return {peer: output for peer, output in keys if output is not None}

    def wait_change(self, version: int, timeout_s: float) -> None:
        """Returns when anything is newer than `version`, or after the time."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version, timeout_s)

    def _touch(self) -> None:
        self._version += 1
        self._changed.notify_all()


class LocalExchange:
    """An `Exchange` over a `Hub`. Alone on its hub it is a solo run: nothing is ever waited for."""

    def __init__(self, hub: Hub, peer: str):
        self._hub = hub
        self._peer = peer
        self._seen_version = 0

    @property
    def peer(self) -> str:
        return self._peer

    @property
    def maddrs(self) -> tuple[str, ...]:
        return ()

    def join(self) -> None:
        """There is nothing to set up in one process; the first `announce` makes it a member."""

    def announce(self, position: Position, published: bool) -> None:
        self._hub.announce(self._peer, position, published=published, waiting=False)

    def publish(self, output: StageOutput) -> None:
        assert output.peer == self._peer, (output.peer, self._peer)
        self._hub.publish(output)

    def gather(
        self,
        position: Position,
        deadline_s: float,
        on_wait: OnWait,
        owed: Owed = NOTHING_OWED,
    ) -> Gathered:
        return waiting.gather(self, position, deadline_s, on_wait, owed)

    def arrived(self, seen: Mapping[str, Position], round_index: int) -> tuple[StageOutput, ...]:
        return arrivals.arrived(self, seen, round_index, LOOK_S)

    def target(self, position: Position, *, joining: bool = False) -> Position:
        return rounds.go_on(position, self.peers(), joining=joining)

    def wait_for(self, position: Position, deadline_s: float, on_wait: OnWait) -> None:
        if rounds.may_start(position, self.peers()):
            return
        self._hub.announce(self._peer, position, published=False, waiting=True)
        waiting.wait_for(self, position, deadline_s, on_wait)

    def wait_for_peers(
        self, position: Position, count: int, deadline_s: float, on_wait: OnWait
    ) -> None:
        self._hub.announce(self._peer, position, published=False, waiting=True)
        waiting.wait_for_peers(self, position, count, deadline_s, on_wait)

    def peers(self) -> tuple[Member, ...]:
        return self._hub.others(self._peer)[0]

    def refused(self) -> Mapping[str, int]:
        return MappingProxyType({})

    def leave(self) -> None:
        self._hub.leave(self._peer)

    def close(self) -> None:
        self.leave()

    def look(self, at_most_s: float) -> tuple[Member, ...]:  # noqa: ARG002
        others, self._seen_version = self._hub.others(self._peer)
        return others

    def departed(self) -> tuple[Member, ...]:
        return self._hub.departed()

    def is_connected(self) -> bool:
        return True

    def read(
        self,
        position: Position,
        peers: Collection[str],
        at_most_s: float,  # noqa: ARG002
    ) -> Mapping[str, StageOutput]:
        return self._hub.read(position, peers)

    def pause(self, at_most_s: float) -> None:
        self._hub.wait_change(self._seen_version, min(LOOK_S, at_most_s))
