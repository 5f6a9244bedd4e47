"""Notices another process that beats with this node's key."""

from jaxswarm.swarm.codec import Heartbeat
from jaxswarm.swarm.shards import Shard

BEATS_OF_THE_DEAD = 2
"""Different heartbeats of an earlier run that may turn up one after the other."""


class Twins:
    """Tells a live process with the same identity from what an earlier run left behind."""

    def __init__(self, session: int, started: float, life_s: float):
        """`session`: of this run, which began at `started`, in seconds since 1970.

        `life_s`: how long a heartbeat lives.
        """
        self._session = session
        self._dead_after = started + life_s
        self._seen: dict[tuple[Shard, int], list[float]] = {}

    def gives_way(self, shard: Shard, heartbeat: Heartbeat, expiration: float) -> bool:
        """Whether this run is to end for the one that this heartbeat is of: the younger gives way.

        The last heartbeats of an earlier run are older than this one's start, or look younger
        because the clock was set back since. One who kept an older one may be heard before one who
        kept the last: only a process that lives makes more of them.
        """
        seen = self._seen.setdefault((shard, heartbeat.session), [expiration])
        if expiration > seen[-1]:
            seen[:] = [*seen[-BEATS_OF_THE_DEAD:], expiration]
        beats_on = len(seen) > BEATS_OF_THE_DEAD and expiration > self._dead_after
        return heartbeat.session < self._session and beats_on and not heartbeat.gone
