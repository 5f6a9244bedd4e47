"""Who is in the swarm, as this node hears it: the table that heartbeats write."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from jaxswarm.swarm import rounds
from jaxswarm.swarm.clocks import HEARTBEAT_MARGIN_S
from jaxswarm.swarm.codec import Heartbeat
from jaxswarm.swarm.config import Limits
from jaxswarm.swarm.manifest import Fields
from jaxswarm.swarm.rounds import Member

DEFAULTS = Limits()


@dataclass(frozen=True, slots=True)
class _Heard:
    heartbeat: Heartbeat
    expiration: float
    heard_at: float


class Membership:
    """The last heartbeat of each peer, and when it was heard by this node's own clock.

    A heartbeat is news only if its signed expiration is later than that of the last one, so an old
    one that somebody repeats keeps no dead peer alive. The first one from a peer counts as heard
    now: how old it is only the peers' clocks could tell.
    """

    def __init__(self, manifest: Fields, ttl_s: float, max_members: int = DEFAULTS.max_members):
        self._manifest = manifest
        self._ttl_s = ttl_s
        self._max_members = max_members
        self._heard: dict[str, _Heard] = {}

    def hear(self, peer: str, heartbeat: Heartbeat, expiration: float, now: float) -> None:
        """Takes note of a peer's heartbeat. Once the table is full, no newcomer puts anybody out.

        Args:
          expiration: until when the DHT keeps it, in seconds since 1970 by the peer's clock.
          now: seconds of this node's monotonic clock.
        """
        known = self._heard.get(peer)
        if known is None and len(self._heard) >= self._max_members:
            return
        if known is None or expiration > known.expiration:
            self._heard[peer] = _Heard(heartbeat, expiration, now)

    def live(self, now: float) -> tuple[Member, ...]:
        """The live members of this swarm, without those who left or keep to another manifest."""
        members = (
            Member(peer, beat.position, beat.published, beat.waiting, heard.heard_at)
            for peer, heard in tuple(self._heard.items())  # the caller may be in another thread
            if not (beat := heard.heartbeat).gone and beat.manifest == self._manifest
        )
        return rounds.live(members, now, self._ttl_s)

    def manifests(self, now: float) -> Iterator[tuple[str, Fields]]:
        """Each live peer with its manifest, whatever that says."""
        for peer, heard in self._heard.items():
            if not heard.heartbeat.gone and now - heard.heard_at <= self._ttl_s:
                yield peer, heard.heartbeat.manifest

    def forget(self) -> None:
        """Drops the peers whose last heartbeat the DHT itself no longer keeps, by any clock."""
        oldest = time.time() - HEARTBEAT_MARGIN_S
        self._heard = {p: heard for p, heard in self._heard.items() if heard.expiration >= oldest}
