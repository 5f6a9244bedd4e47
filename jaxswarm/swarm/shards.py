"""The swarm's list of members in pieces, so that no node reads the whole of it.

A peer has an address that follows from its id. The list is a binary tree over the addresses: depth
0 is one bucket with everybody, at depth d there are 2^d buckets, one for each way in which an
address can begin. A node beats in one bucket, at the depth that suits the size of the swarm, and
reads that bucket and the one with which it is paired for the round. Both pair each other, so that
all who are in them hear the same members, read the same texts, and vote on the same answers; the
pairs change from round to round, so that what one bucket learns spreads.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

MAX_DEPTH = 8

_BITS = 64


@dataclass(frozen=True, slots=True, order=True)
class Shard:
    """One bucket: the addresses whose first `depth` bits are those of the number `bucket`."""

    depth: int
    bucket: int

    def parts(self) -> tuple["Shard", "Shard"]:
        """The two halves of it."""
        deeper = self.depth + 1
        return Shard(deeper, 2 * self.bucket), Shard(deeper, 2 * self.bucket + 1)

    def whole(self) -> "Shard":
        """That of which it is a half."""
        return Shard(self.depth - 1, self.bucket >> 1)


EVERYBODY = Shard(0, 0)


@lru_cache(maxsize=4096)
def address(peer: str) -> int:
    """64 bits by which a peer is filed; to have others it needs another key."""
    return int.from_bytes(hashlib.sha256(f"address\n{peer}".encode()).digest()[: _BITS // 8])


def home(address: int, depth: int) -> Shard:
    """The bucket of an address at some depth."""
    return Shard(depth, address >> (_BITS - depth))


def path(address: int) -> tuple[Shard, ...]:
    """Every bucket in which a peer of this address may beat, from that of everybody down."""
    return tuple(home(address, depth) for depth in range(MAX_DEPTH + 1))


def pair(address: int, depth: int, round_: int) -> frozenset[Shard]:
    """The buckets at this depth whose members play a round together: two, or one with itself."""
    material = hashlib.sha256(f"pairs\n{round_}".encode()).digest()
    mask = int.from_bytes(material[: _BITS // 8])
    return frozenset((home(address, depth), home(address ^ mask, depth)))


def around(shards: Iterable[Shard]) -> frozenset[Shard]:
    """These, and those one depth up and down: there beat the members who see the size otherwise."""
    near = frozenset(shards)
    whole = {shard.whole() for shard in near if shard.depth > 0}
    parts = {part for shard in near if shard.depth < MAX_DEPTH for part in shard.parts()}
    return near | whole | parts
