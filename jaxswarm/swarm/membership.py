"""Who is in the swarm, as this node hears it: the table that heartbeats write."""

import time
from collections.abc import Callable, Iterator, Mapping
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
    depth: int


class Membership:
    """The last heartbeat of each peer, and when it was heard by this node's own clock.

    A heartbeat is news only if its signed expiration is later than that of the last one, so an old
    one that somebody repeats keeps no dead peer alive. The first one from a peer counts as heard
    now: how old it is only the peers' clocks could tell.
    """

    def __init__(self, manifest: Fields, ttl_s: float, max_members: int = DEFAULTS.max_heard):
        self._manifest = manifest
        self._ttl_s = ttl_s
        self._max_members = max_members
        self._heard: dict[str, _Heard] = {}

    def __len__(self) -> int:
        return len(self._heard)

    def hear(
        self, peer: str, heartbeat: Heartbeat, expiration: float, now: float, depth: int = 0
    ) -> None:
        """Takes note of a peer's heartbeat. Once the table is full, no newcomer puts anybody out.

        Args:
          expiration: until when the DHT keeps it, in seconds since 1970 by the peer's clock.
          now: seconds of this node's monotonic clock.
          depth: at which it lay in the list of members.
        """
        known = self._heard.get(peer)
        if known is None and len(self._heard) >= self._max_members:
            return
        if known is None or expiration > known.expiration:
            self._heard[peer] = _Heard(heartbeat, expiration, now, depth)

    def live(self, now: float) -> tuple[Member, ...]:
        """The live members of this swarm, without those who left or keep to another manifest."""
        return rounds.live(self._members(gone=False), now, self._ttl_s)

    def departed(self) -> tuple[Member, ...]:
        """Members of this swarm who left, in the order of their ids, until they are forgotten."""
        return tuple(sorted(self._members(gone=True), key=lambda member: member.peer))

    def manifests(self, now: float) -> Iterator[tuple[str, Fields]]:
        """Each live peer with its manifest, whatever that says."""
        for peer, heard in self._heard.items():
            if self._is_live(heard, now):
                yield peer, heard.heartbeat.manifest

    def depths(self, now: float) -> Mapping[str, int]:
        """At which depth of the list the last heartbeat of each live peer lay."""
        return {
            peer: heard.depth for peer, heard in self._heard.items() if self._is_live(heard, now)
        }

    def forget(self) -> None:
        """Drops the peers whose last heartbeat the DHT itself no longer keeps, by any clock."""
        oldest = time.time() - HEARTBEAT_MARGIN_S
        self._heard = {p: heard for p, heard in self._heard.items() if heard.expiration >= oldest}

    def part_with(self, now: float, is_near: Callable[[str], bool]) -> None:
        """Drops the silent peers that this node doesn't listen for, so that others find room."""
        self._heard = {
            p: heard for p, heard in self._heard.items() if is_near(p) or self._is_live(heard, now)
        }

    def _members(self, *, gone: bool) -> Iterator[Member]:
        for peer, heard in tuple(self._heard.items()):  # the caller may be in another thread
            beat = heard.heartbeat
            if beat.gone == gone and beat.manifest == self._manifest:
                yield Member(peer, beat.position, beat.published, beat.waiting, heard.heard_at)

    def _is_live(self, heard: _Heard, now: float) -> bool:
        return not heard.heartbeat.gone and now - heard.heard_at <= self._ttl_s
