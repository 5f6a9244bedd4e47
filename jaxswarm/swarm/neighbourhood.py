"""The part of the swarm that a node hears: how deep in the list it beats, and what it reads of it.

Up to `Limits.split_members` members that is the whole swarm. No node is told the swarm's size, nor
believes anybody's word for it: each goes by how many it hears in the buckets that it reads.
"""

from collections import Counter
from collections.abc import Iterator

from jaxswarm.swarm import shards
from jaxswarm.swarm.codec import Heartbeat
from jaxswarm.swarm.config import Limits
from jaxswarm.swarm.manifest import Fields
from jaxswarm.swarm.membership import Membership
from jaxswarm.swarm.rounds import Member
from jaxswarm.swarm.shards import EVERYBODY, Shard

LONELY = 3 / 8
"""Of the members that make a bucket crowded: with fewer it is given up."""


class Neighbourhood:
    """The members near one node. Times are seconds of its own monotonic clock.

    Two neighbours may see the size otherwise for a while. As long as their depths differ by no more
    than one they hear each other, for each reads a depth up and down as well.
    """

    def __init__(self, own: str, manifest: Fields, ttl_s: float, limits: Limits):
        self._address = shards.address(own)
        self._membership = Membership(manifest, ttl_s, limits.max_heard)
        self._split = limits.split_members
        self._lonely = LONELY * limits.split_members
        self._depth = 0
        self._load = 0.0

    @property
    def home(self) -> Shard:
        """Where this node beats."""
        return shards.home(self._address, self._depth)

    @property
    def remembered(self) -> int:
        """Of how many peers it remembers the last heartbeat."""
        return len(self._membership)

    def near(self, round_: int) -> frozenset[Shard]:
        """Where those beat with whom this node plays a round, as far as they see the same size."""
        return shards.pair(self._address, self._depth, round_)

    def wide(self, round_: int) -> frozenset[Shard]:
        """Where they all beat; with those of the next round, so that it is known who of them lives.

        While the whole list is one small bucket, nobody has a reason to beat elsewhere.
        """
        if self._depth == 0 and 2 * self._load <= self._split:
            return frozenset((EVERYBODY,))
        return shards.around(self.near(round_) | self.near(round_ + 1))

    def path(self) -> frozenset[Shard]:
        """Where neighbours may beat who see quite another size, or whose swarm was cut off."""
        return frozenset(shards.path(self._address))

    def hear(
        self, shard: Shard, peer: str, heartbeat: Heartbeat, expiration: float, now: float
    ) -> None:
        """Takes note of a heartbeat found in a bucket; see `Membership.hear`."""
        self._membership.hear(peer, heartbeat, expiration, now, shard.depth)

    def live(self, round_: int, now: float) -> tuple[Member, ...]:
        """The live members with whom this node plays a round, whatever their depth."""
        return self._near_of(self._membership.live(now), round_)

    def departed(self, round_: int) -> tuple[Member, ...]:
        """Of those with whom it plays a round, who has left, as they were then."""
        return self._near_of(self._membership.departed(), round_)

    def manifests(self, now: float) -> Iterator[tuple[str, Fields]]:
        """Each live peer that was heard, with its manifest."""
        return self._membership.manifests(now)

    def adapt(self, round_: int, now: float) -> bool:
        """Goes one depth down where it is crowded, up where it is lonely. True if it has moved.

        Between the two lies more than a factor of two: a step leads to where no other is due.
        """
        near = self.near(round_)
        kept = near | self.near(round_ + 1)
        self._membership.forget()
        self._membership.part_with(now, lambda peer: self._home_of(peer) in kept)
        self._load = (1 + len(self.live(round_, now))) / len(near)
        before = self._depth
        if self._load > self._split:
            self._depth = min(self._depth + 1, shards.MAX_DEPTH)
        elif self._load < self._lonely:
            self._depth = max(self._depth - 1, 0)
        return self._depth != before

    def follow(self, now: float) -> None:
        """Goes down to where enough neighbours beat: for who comes new, or was cut off.

        To be called when the path was read. Enough are so many that it won't be lonely there. That
        more beat above counts for nothing: there the last ones of a swarm that has gone down, or
        newcomers, may keep each other company.
        """
        heard = self._membership.depths(now).items()
        on_path = [d for p, d in heard if self._home_of(p, d) == shards.home(self._address, d)]
        for depth, members in Counter(on_path).items():
            if 1 + members >= self._lonely:
                self._depth = max(self._depth, depth)

    def _near_of(self, members: tuple[Member, ...], round_: int) -> tuple[Member, ...]:
        near = self.near(round_)
        if near == {EVERYBODY}:
            return members
        return tuple(member for member in members if self._home_of(member.peer) in near)

    def _home_of(self, peer: str, depth: int | None = None) -> Shard:
        return shards.home(shards.address(peer), self._depth if depth is None else depth)
