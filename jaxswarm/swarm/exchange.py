"""What a node asks of its swarm: all that it knows of other nodes.

`DhtExchange` (dht_exchange.py) speaks to real peers; `LocalExchange` (local_exchange.py) serves
solo runs, experiments in one process and tests. Both decide by rounds.py and wait by waiting.py, so
they differ in the transport alone.
"""

from collections.abc import Mapping
from typing import Protocol

from jaxswarm.records import Position, StageOutput
from jaxswarm.swarm.rounds import Member
from jaxswarm.swarm.waiting import NOTHING_OWED, Gathered, OnWait, Owed


class Exchange(Protocol):
    """A node's door to its swarm. Every call returns in bounded time.

    One thread calls it; `close` may come from another.

    The order of a node's life: `join`; then for each stage `target`, `wait_for` if that is not the
    position it had in mind, `announce(position, False)`, its work, `publish`,
    `announce(position, True)`, `gather`; then `leave` and `close`.
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

    def leave(self) -> None:
        """Says that this node plays no more: nobody waits for it. What it keeps for others stays.

        Afterwards `peers` and `refused` may be asked, and `close` is called.
        """
        ...

    def close(self) -> None:
        """Leaves the swarm, so that nobody waits for this node. Safe to call twice."""
        ...
