"""What the searches under way have found so far, for those that come to no end in time."""

from collections.abc import Iterator
from contextlib import contextmanager

from jaxswarm.swarm.dht_packing import Entries


class Searches:
    """Searches by the bytes of the key that they are for. hivemind tells a result at the end alone:
    a few peers that let themselves be waited for would hide what all others said."""

    def __init__(self) -> None:
        self._under_way: list[tuple[bytes, Entries]] = []

    @contextmanager
    def collecting(self, key: bytes) -> Iterator[Entries]:
        """What `found` is told of this key inside the block."""
        search = key, Entries()
        self._under_way.append(search)
        try:
            yield search[1]
        finally:
            self._under_way.remove(search)

    def found(self, key: bytes, found: Entries) -> None:
        """A peer has answered with these, all of them valid."""
        for wanted, entries in self._under_way:
            if wanted != key:
                continue
            with entries.freeze(), found.freeze():
                for tag, (record, expiration) in found.items():
                    entries.store(tag, record, expiration)
