"""The one gate through which every record enters this node, to be read or to be kept for others.

A record proves where it belongs: its content and its signer give the one key under which it may
lie (a heartbeat: one key at each depth of the list of members), and this node neither reads nor
stores it under any other. So nobody can fill or blot out the
place of another peer's record, and an honest node never passes on a bad one.
"""

import hashlib
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping
from types import MappingProxyType

import msgpack

from jaxswarm.swarm import codec, keys, shards
from jaxswarm.swarm.access import Access
from jaxswarm.swarm.codec import Heartbeat
from jaxswarm.swarm.config import Limits
from jaxswarm.swarm.refusal import Reason, RefusedError

CLOCK_SKEW_S = 60.0
"""How far a peer's clock may be ahead before its records seem to ask for too long a life."""


OPEN = Access()


class Gate:
    """Judges records by their content, and counts what it refuses."""

    def __init__(self, swarm: str, limits: Limits, access: Access = OPEN):
        self.limits = limits
        self.access = access
        self.refusals = Refusals()
        self._swarm = swarm

    def admit(self, record_id: bytes, peer: str, value: bytes, expiration_time: float) -> None:
        """Passes a record whose signature by `peer` was verified.

        Args:
          record_id: the id of the key under which it lies.
          peer: who signed it.
          value: the payload as hivemind wraps it: one msgpack byte string.
          expiration_time: until when it asks to be kept, in seconds since 1970.

        Raises:
          RefusedError: it is not taken.
        """
        payload = self.access.unseal(_unwrap(value), record_id, peer)
        record = codec.decode(payload, peer, self.limits)
        if isinstance(record, Heartbeat):
            path = shards.path(shards.address(peer))
            own = (keys.members(self._swarm, shard) for shard in path)
            max_ttl_s = self.limits.max_heartbeat_ttl_s
        else:
            own = (keys.output(self._swarm, record.position, peer),)
            max_ttl_s = self.limits.max_ttl_s
        if all(keys.record_id(key) != record_id for key in own):
            raise RefusedError(Reason.MISPLACED)
        ttl_s = expiration_time - time.time()
        if not math.isfinite(ttl_s) or ttl_s > max_ttl_s + CLOCK_SKEW_S:
            raise RefusedError(Reason.EXPIRY)


class Refusals:
    """Counts refused records by reason, each record once however often it is met."""

    _REMEMBERED = 4096

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def count(self, reason: Reason, *record: bytes) -> None:
        digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in record)).digest()
        if digest in self._seen:
            return
        self._seen[digest] = None
        self._counts[reason.value] += 1
        if len(self._seen) > self._REMEMBERED:
            self._seen.popitem(last=False)

    def counts(self) -> Mapping[str, int]:
        return MappingProxyType(dict(self._counts))


def _unwrap(value: bytes) -> bytes:
    try:
        payload = msgpack.unpackb(value)
    except (ValueError, TypeError) as error:
        raise RefusedError(Reason.MALFORMED) from error
    if type(payload) is not bytes:
        raise RefusedError(Reason.MALFORMED)
    return payload
