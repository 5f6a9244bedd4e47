"""What a node keeps for the others: records of any peer, no peer beyond its share.

hivemind's own storage has no bound, neither of what one peer may fill nor of the whole, and it
remembers every attempt to store until the record would have expired. Here a peer displaces nothing
but records of its own; only where all that is kept together is too much, the peer with the most
gives way.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jaxswarm.swarm.config import Limits
from jaxswarm.swarm.refusal import Reason, RefusedError

SWEEP_S = 5.0
"""Between two searches for what has expired; nothing expired is ever given out."""

_OVERHEAD_BYTES = 512
"""What a kept record costs beside its own bytes."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One record. `expiration` and `taken_at` in seconds since 1970, by this node's clock."""

    value: bytes
    expiration: float
    taken_at: float


class Shelf:
    """Records by key and owner. `now` is always this node's clock, in seconds since 1970."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._owners_of: dict[bytes, dict[bytes, Kept]] = {}
        self._kept_of: dict[bytes, dict[bytes, Kept]] = {}  # of each owner, the oldest first
        self._bytes_of: dict[bytes, int] = {}
        self._bytes = 0
        self._swept_at = 0.0

    def take(self, key: bytes, owner: bytes, value: bytes, expiration: float, now: float) -> bool:
        """Keeps a record that passed the gate until it expires.

        Returns:
          Whether it was taken; False: it has expired, or is not later than what is there.

        Raises:
          RefusedError: the owner has used up its share, or there is no room for one owner more.
        """
        if now - self._swept_at > SWEEP_S:
            self._sweep(now)
        known = self._owners_of.get(key, {}).get(owner)
        if not expiration > max(now, known.expiration if known else 0.0):  # so NaN is none
            return False
        if not known and len(self._owners_of.get(key, ())) >= self._limits.max_members:
            raise RefusedError(Reason.TOO_MANY)
        cost = _cost(owner, value)
        self._make_room(key, owner, cost, now)
        self._drop(key, owner)
        kept = Kept(value, expiration, now)
        self._owners_of.setdefault(key, {})[owner] = kept
        self._kept_of.setdefault(owner, {})[key] = kept
        self._bytes_of[owner] = self._bytes_of.get(owner, 0) + cost
        self._bytes += cost
        return True

    def get(self, key: bytes, now: float) -> Mapping[bytes, Kept]:
        """What lies under a key, by owner."""
        owners = self._owners_of.get(key, {})
        return {owner: kept for owner, kept in owners.items() if kept.expiration > now}

    def newest(self, max_bytes: int) -> Iterator[bytes]:
        """The keys of what was taken last, as many as cost no more than `max_bytes` together."""
        taken = {
            key: max(kept.taken_at for kept in owners.values())
            for key, owners in self._owners_of.items()
        }
        left = max_bytes
        for key in sorted(taken, key=lambda key: -taken[key]):
            left -= sum(_cost(owner, kept.value) for owner, kept in self._owners_of[key].items())
            if left < 0:
                return
            yield key

    def _make_room(self, key: bytes, owner: bytes, cost: int, now: float) -> None:
        """Displaces what must go for a record of this cost, the oldest of whoever has too much."""
        limits, own = self._limits, self._kept_of.get(owner, {})
        known = own.get(key)
        count, size = len(own), self._bytes_of.get(owner, 0) + cost
        if known:
            count, size = count - 1, size - _cost(owner, known.value)
        displaced = []
        for other, kept in own.items():
            if count < limits.max_kept and size <= limits.max_kept_bytes:
                break
            if other == key:
                continue
            if now - kept.taken_at < limits.place_s:
                raise RefusedError(Reason.TOO_MANY)
            displaced.append(other)
            count, size = count - 1, size - _cost(owner, kept.value)
        if count >= limits.max_kept or size > limits.max_kept_bytes:
            raise RefusedError(Reason.TOO_MANY)
        for other in displaced:
            self._drop(other, owner)
        while self._bytes + cost > limits.max_kept_bytes_in_all and self._bytes_of:
            largest = max(self._bytes_of, key=lambda peer: self._bytes_of[peer])
            if self._bytes_of[largest] <= self._bytes_of.get(owner, 0) + cost:
                raise RefusedError(Reason.TOO_MANY)
            self._drop(next(iter(self._kept_of[largest])), largest)

    def _drop(self, key: bytes, owner: bytes) -> None:
        kept = self._owners_of.get(key, {}).pop(owner, None)
        if kept is None:
            return
        cost = _cost(owner, kept.value)
        del self._kept_of[owner][key]
        self._bytes -= cost
        self._bytes_of[owner] -= cost
        if not self._kept_of[owner]:
            del self._kept_of[owner], self._bytes_of[owner]
        if not self._owners_of[key]:
            del self._owners_of[key]

    def _sweep(self, now: float) -> None:
        self._swept_at = now
        expired = [
            (key, owner)
            for owner, of_owner in self._kept_of.items()
            for key, kept in of_owner.items()
            if kept.expiration <= now
        ]
        for key, owner in expired:
            self._drop(key, owner)


def _cost(owner: bytes, value: bytes) -> int:
    return len(owner) + len(value) + _OVERHEAD_BYTES
