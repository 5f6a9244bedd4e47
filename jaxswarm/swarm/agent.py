"""The part of a node that lives on the event loop: it beats, listens, stores and reads.

Nothing here ends the node. What fails is said once, tried again, and means at worst that the node
goes on alone; only an `InputError` (another manifest, an identity used elsewhere) and a bug of
ours are handed to the node, by `fatal`.
"""

import asyncio
import math
import time
from collections.abc import Callable, Collection, Coroutine, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from jaxswarm.errors import InputError
from jaxswarm.records import Position, StageOutput
from jaxswarm.swarm import codec, keys, manifest
from jaxswarm.swarm.agreement import Agreement
from jaxswarm.swarm.clocks import HEARTBEAT_MARGIN_S
from jaxswarm.swarm.codec import Heartbeat
from jaxswarm.swarm.config import DhtConfig
from jaxswarm.swarm.dht import Found
from jaxswarm.swarm.gate import Gate
from jaxswarm.swarm.identity import Identity, peer_of
from jaxswarm.swarm.manifest import Fields, Manifest
from jaxswarm.swarm.neighbourhood import Neighbourhood
from jaxswarm.swarm.outbox import Outbox
from jaxswarm.swarm.readings import Readings
from jaxswarm.swarm.refusal import Reason
from jaxswarm.swarm.rounds import Member
from jaxswarm.swarm.shards import Shard
from jaxswarm.swarm.twins import Twins
from jaxswarm.swarm.uplink import OnEvent, Uplink

KEPT_POSITIONS = 6
"""Own outputs kept to be stored again: those of two rounds, which is what peers may still read. As
many of others are kept for each partner."""
LEAVE_TIMEOUT_S = 2.0
BEATS_BEFORE_WARNING = 3


class Agent:
    """A node's presence in the swarm. All methods belong on one event loop."""

    def __init__(self, config: DhtConfig, own: Manifest, identity: Identity, on_event: OnEvent):
        self.gate = Gate(config.name, config.limits, config.access.including(identity.peer))
        self.fatal: BaseException | None = None
        self._config = config
        self._manifest: Fields = own.fields()
        self._identity = identity
        self._on_event = on_event
        self._uplink = Uplink(
            config,
            identity,
            manifest.mark(self._manifest),
            self.gate,
            on_event,
            self._live,
            self._store_again,
        )
        self._neighbourhood = Neighbourhood(
            identity.peer, self._manifest, config.member_ttl_s, config.limits
        )
        self._agreement = Agreement(self._manifest, self._uplink, on_event)
        started = time.time()
        self._session = int(started * 1000)
        self._twins = Twins(self._session, started, config.member_ttl_s + HEARTBEAT_MARGIN_S)
        self._says: Heartbeat | None = None
        self._news: list[asyncio.Event] = []
        self._outbox = Outbox(self._store, KEPT_POSITIONS)
        self._readings = Readings(KEPT_POSITIONS * config.limits.max_partners)
        self._beat_expires = 0.0
        self._beats_failed = 0
        self._looked_far_at = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def maddrs(self) -> tuple[str, ...]:
        """The addresses by which others can join this node."""
        return self._uplink.maddrs

    @property
    def is_connected(self) -> bool:
        """Whether there is a daemon to ask by."""
        return self._uplink.link is not None

    async def start(self) -> None:
        """Starts the daemon, dials the initial peers, and compares manifests with whom it finds.

        Raises:
          InputError: an address or port can't be used, the daemon doesn't start, the manifest
            differs, or the identity is in use elsewhere.
        """
        await self._uplink.start()
        await self._look_far()
        loops = (*self._loops(), *self._uplink.loops())
        self._tasks = [asyncio.create_task(loop) for loop in loops]
        for task in self._tasks:
            task.add_done_callback(self._note_end)

    async def stop(self) -> None:
        """Says good-bye and ends the daemon. Who gives way to its twin says nothing in its name."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._says and not self.fatal:
            self.leave()
            with suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_TIMEOUT_S):
                    await self._beat()
        await self._uplink.stop()

    def say(self, position: Position, *, published: bool, waiting: bool) -> None:
        """What the heartbeat says from now on; it goes out at once."""
        self._says = Heartbeat(position, published, waiting, False, self._session, self._manifest)
        self._wake()

    def leave(self) -> None:
        """From now on the heartbeat says that this node plays no more."""
        if self._says:
            self._says = replace(self._says, gone=True)
            self._wake()

    async def publish(self, output: StageOutput) -> bool:
        """Stores an output, and goes on trying in the background if that fails."""
        payload = codec.encode_output(output)
        return await self._outbox.put(output.position, payload, self._config.call_timeout_s)

    async def refresh(self, at_most_s: float = math.inf) -> tuple[Member, ...]:
        """Asks for the newest heartbeats; the live members of this swarm.

        Args:
          at_most_s: after so many seconds without an answer it is as heard last.

        Raises:
          InputError: as in `start`, as soon as there is somebody to learn it from.
        """
        await self._look(self._neighbourhood.near(self._round), at_most_s)
        return self.members()

    def members(self) -> tuple[Member, ...]:
        """The live members as heard last."""
        return self._neighbourhood.live(self._round, time.monotonic())

    def departed(self) -> tuple[Member, ...]:
        """Those of this swarm who have said good-bye of late, as they were then."""
        return self._neighbourhood.departed(self._round)

    async def read(
        self, position: Position, peers: Collection[str], at_most_s: float
    ) -> dict[str, StageOutput]:
        """The outputs of these peers, as far as they are out and here after `at_most_s` seconds.

        The first one read stays the one.
        """
        lacking = self._readings.lacking(position, peers)
        name_of = {peer: keys.output(self._config.name, position, peer) for peer in lacking}
        found = await self._get(list(name_of.values()), at_most_s, latest=False)
        for peer, name in name_of.items():
            for payload, _ in found.get(name, {}).values():
                output = codec.decode(payload, peer, self._config.limits)
                assert isinstance(output, StageOutput), "the gate lets nothing else under this key"
                self._readings.note(output)
        return self._readings.take(position, peers)

    @property
    def _round(self) -> int:
        return self._says.position.round if self._says else 0

    def _live(self) -> frozenset[str]:
        return frozenset(member.peer for member in self.members())

    def _store_again(self) -> None:
        """Whoever is back in touch may lack what was published meanwhile."""
        self._outbox.store_again()
        self._wake()

    async def _get(self, names: list[str], at_most_s: float, *, latest: bool) -> dict[str, Found]:
        """What lies under these keys, as far as it is here in time: a slow one costs no other."""
        link = self._uplink.link
        if not link:
            return {}
        searches = (link.get(name, latest=latest, at_most_s=at_most_s) for name in names)
        answers = await asyncio.gather(*searches)
        return {name: found for name, found in zip(names, answers, strict=True) if found}

    async def _beat(self) -> bool:
        if not self._uplink.link or not self._says:
            return False
        payload = codec.encode_heartbeat(self._says)
        name = keys.members(self._config.name, self._neighbourhood.home)
        # Later than the last one even if the clock was set back, else it would be no news; but no
        # later than the gates of others allow.
        now = time.time()
        latest = now + self._config.limits.max_heartbeat_ttl_s
        expires = now + self._config.member_ttl_s + HEARTBEAT_MARGIN_S
        self._beat_expires = max(expires, min(self._beat_expires + 0.001, latest))
        return await self._uplink.link.store(name, self._identity.tag, payload, self._beat_expires)

    async def _store(self, position: Position, payload: bytes) -> bool:
        if not self._uplink.link:
            return False
        name = keys.output(self._config.name, position, self._identity.peer)
        expires = time.time() + self._config.output_ttl_s
        return await self._uplink.link.store(name, self._identity.tag, payload, expires)

    def _loops(self) -> Iterable[Coroutine[Any, Any, None]]:
        return map(self._repeat, (self._beat_once, self._outbox.store_waiting, self._listen))

    async def _repeat(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Does a part of what a present node does: now, at each heartbeat, and when it has news.

        Each part repeats by itself: a peer that is slow to store or to answer delays no heartbeat.
        """
        news = asyncio.Event()
        self._news.append(news)
        while True:
            await work()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._config.heartbeat_s):
                    await news.wait()
            news.clear()

    def _wake(self) -> None:
        for news in self._news:
            news.set()

    async def _beat_once(self) -> None:
        if not self._says:
            return
        self._beats_failed = 0 if await self._beat() else self._beats_failed + 1
        if self._beats_failed == BEATS_BEFORE_WARNING:
            self._on_event("heartbeats don't get through; the others may count us as gone")

    async def _listen(self) -> None:
        if time.monotonic() - self._looked_far_at > self._config.member_ttl_s:
            await self._look_far()
        await self._look(self._neighbourhood.wide(self._round))
        if self._neighbourhood.adapt(self._round, time.monotonic()):
            await self._beat()  # where it has moved to; one step at a time

    async def _look_far(self) -> None:
        """Looks for neighbours at every depth of the list: who comes new knows nothing of it."""
        self._looked_far_at = time.monotonic()
        await self._look(self._neighbourhood.path())
        self._neighbourhood.follow(time.monotonic())

    async def _look(self, shards: Collection[Shard], at_most_s: float = math.inf) -> None:
        """Hears who beats in these buckets of the list. What is wrong then is kept in `fatal`."""
        place = {keys.members(self._config.name, shard): shard for shard in shards}
        found = await self._get(list(place), at_most_s, latest=True)
        now = time.monotonic()
        try:
            for name, heartbeats in found.items():
                self._hear(place[name], heartbeats, now)
            self._check_manifests(now)
        except InputError as error:
            self.fatal = error
            raise

    def _hear(self, shard: Shard, found: Found, now: float) -> None:
        for tag, (payload, expiration) in found.items():
            peer = peer_of(tag)
            heartbeat = codec.decode(payload, peer, self._config.limits)
            assert isinstance(heartbeat, Heartbeat), "the gate lets nothing else under this key"
            if peer == self._identity.peer:
                self._check_session(shard, heartbeat, expiration)
            else:
                self._neighbourhood.hear(shard, peer, heartbeat, expiration, now)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        """A loop never ends by itself: what ended it is the node's to know, never a silent stop."""
        if not task.cancelled():
            self.fatal = task.exception()

    def _check_session(self, shard: Shard, heartbeat: Heartbeat, expiration: float) -> None:
        """Raises if an older process than this one beats with our key."""
        if heartbeat.session == self._session:
            return
        # What an earlier run left behind is not to outlive what this one says.
        self._beat_expires = max(self._beat_expires, expiration)
        if self._twins.gives_way(shard, heartbeat, expiration):
            raise InputError(
                f"identity file {self._identity.path}",
                got="in use by a live node elsewhere in the swarm",
                expected="one identity for each node",
                remedy="stop that node, or give this one another identity file",
            )

    def _check_manifests(self, now: float) -> None:
        manifests = list(self._neighbourhood.manifests(now))
        for peer, fields in manifests:
            if fields != self._manifest:
                reason = Reason.OTHER_MANIFEST
                self.gate.refusals.count(reason, peer.encode(), repr(fields).encode())
        self._agreement.hear(manifests)
