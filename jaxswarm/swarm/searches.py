"""What the searches under way have found so far, for those that come to no end in time."""

from collections.abc import Iterator
from contextlib import contextmanager

from jaxswarm.swarm.dht_packing import Entries


class Searches:
    """Searches by the bytes of the key that they are for. hivemind tells a result at the end alone:
    a few peers that let themselves be waited for would hide what all others said."""

    def __init__(self) -> None:
        self._under_way: dict[bytes, list[Entries]] = {}

    @contextmanager
    def collecting(self, key: bytes) -> Iterator[Entries]:
        """What `found` is told of this key inside the block."""
        entries = Entries()
        self._under_way.setdefault(key, []).append(entries)
        try:
            yield entries
        finally:
            rest = [other for other in self._under_way[key] if other is not entries]
            if rest:
                self._under_way[key] = rest
            else:
                del self._under_way[key]

    def found(self, key: bytes, found: Entries) -> None:
        """A peer has answered with these, all of them valid."""
        for entries in self._under_way.get(key, ()):
            with entries.freeze(), found.freeze():
                for tag, (record, expiration) in found.items():
                    entries.store(tag, record, expiration)
