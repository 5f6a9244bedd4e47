"""What a node asks of its swarm, and a swarm inside one process with the same manners.

`Exchange` is all that node.py knows of other nodes. `DhtExchange` (dht_exchange.py) speaks to real
peers; `Hub` and `LocalExchange` serve solo runs, experiments in one process and tests. Both decide
by rounds.py and wait by waiting.py, so they differ in the transport alone.
"""

import threading
import time
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Protocol

from jaxswarm.records import Position, StageOutput
from jaxswarm.swarm import arrivals, rounds, waiting
from jaxswarm.swarm.rounds import Member
from jaxswarm.swarm.waiting import NOTHING_OWED, Gathered, OnWait, Owed

LOOK_S = 0.5
"""Between two looks of a node that waits in one process, where nothing changes meanwhile."""


class Exchange(Protocol):
    """A node's door to its swarm. Every call returns in bounded time.

    One thread calls it; `close` may come from another.

    The order of a node's life: `join`; then for each stage `target`, `wait_for` if that is not the
    position it had in mind, `announce(position, False)`, its work, `publish`,
    `announce(position, True)`, `gather`; and `close`.
    """

    @property
    def peer(self) -> str:
        """This node's id in the swarm; known after `join`."""
        ...

    @property
    def maddrs(self) -> tuple[str, ...]:
        """The multiaddresses by which others can join, after `join`; none where nobody can."""
        ...

    def join(self) -> None:
        """Enters the swarm, or starts one. Peers that don't answer are reported and tried again.

        Raises:
          InputError: an address or the identity can't be used, or the swarm's manifest differs.
        """
        ...

    def announce(self, position: Position, published: bool) -> None:
        """What this node's heartbeat says from now on. The first call makes it a member."""
        ...

    def publish(self, output: StageOutput) -> None:
        """Hands this node's output to the swarm. The same output again changes nothing."""
        ...

    def gather(
        self,
        position: Position,
        deadline_s: float,
        on_wait: OnWait,
        owed: Owed = NOTHING_OWED,
    ) -> Gathered:
        """Reads the peers' outputs for `position`: all expected, or those out at the deadline.

        Args:
          position: the stage whose outputs are wanted.
          deadline_s: how long to wait at most, in seconds from now.
          on_wait: called again and again while the node waits; False ends the wait.
          owed: what was missing in earlier stages, to be read if it is out by now.
        """
        ...

    def arrived(self, seen: Mapping[str, Position], round_index: int) -> tuple[StageOutput, ...]:
        """The newest output of each peer that has a newer one than `seen` of it, without a wait.

        For swarms whose rounds are one answer stage, in which nobody keeps step. `round_index`:
        one's own.
        """
        ...

    def target(self, position: Position, *, joining: bool = False) -> Position:
        """Where to go on instead of at `position`, as `rounds.go_on` says; `position` if in step.

        Args:
          position: where the node would take its next step.
          joining: it has had no part in that round: it has just come, with no state of its own.
        """
        ...

    def wait_for(self, position: Position, deadline_s: float, on_wait: OnWait) -> None:
        """Stands idle until the swarm reaches the round of `position`, or the deadline.

        Returns at once when it is there already (`rounds.may_start`), and early when the swarm goes
        elsewhere: ask `target` again. Meanwhile the heartbeat says that this node waits, so that
        the others count on it there and are not drawn ahead by it.
        """
        ...

    def wait_for_peers(
        self, position: Position, count: int, deadline_s: float, on_wait: OnWait
    ) -> None:
        """Stands idle at `position` until `count` peers are live, or the deadline."""
        ...

    def peers(self) -> tuple[Member, ...]:
        """The live members as heard last, this node left out."""
        ...

    def refused(self) -> Mapping[str, int]:
        """How many records were refused since the start, by reason."""
        ...

    def close(self) -> None:
        """Leaves the swarm, so that nobody waits for this node. Safe to call twice."""
        ...


class Hub:
    """The swarm of one process: who is in it, and what was published. Safe between threads.

    A member stays live until it leaves: threads of one process have no silent deaths to time out.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._version = 0
        self._members: dict[str, Member] = {}
        self._outputs: dict[tuple[Position, str], StageOutput] = {}

    def announce(self, peer: str, position: Position, *, published: bool, waiting: bool) -> None:
        with self._changed:
            self._members[peer] = Member(peer, position, published, waiting, time.monotonic())
            self._touch()

    def publish(self, output: StageOutput) -> None:
        """Keeps the first output of a peer for a position, as every reader of the DHT does."""
        with self._changed:
            self._outputs.setdefault((output.position, output.peer), output)
            self._touch()

    def leave(self, peer: str) -> None:
        with self._changed:
            self._members.pop(peer, None)
            self._touch()

    def others(self, peer: str) -> tuple[tuple[Member, ...], int]:
        """The members without `peer`, in the order of their ids, and the version seen."""
        with self._changed:
            seen = (m for m in self._members.values() if m.peer != peer)
            return tuple(sorted(seen, key=lambda m: m.peer)), self._version

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

    def close(self) -> None:
        self._hub.leave(self._peer)

    def look(self, at_most_s: float) -> tuple[Member, ...]:  # noqa: ARG002
        others, self._seen_version = self._hub.others(self._peer)
        return others

    def read(
        self,
        position: Position,
        peers: Collection[str],
        at_most_s: float,  # noqa: ARG002
    ) -> Mapping[str, StageOutput]:
        return self._hub.read(position, peers)

    def pause(self, at_most_s: float) -> None:
        self._hub.wait_change(self._seen_version, min(LOOK_S, at_most_s))
