"""A swarm of any size in one process: what each node asks of the DHT, and what comes back.

Real are the choice of buckets and peers (shards.py, neighbourhood.py), the rules of the rounds
(rounds.py), the members' table, the packing of heartbeats, and the shelf that keeps them with its
bound a key. Simulated are time, the network (a look-up gives at once what lies there), the learner
(a stage takes a random time) and the outputs (so many bytes). Signatures are counted, not made, and
so are the DHT's replicas; its routing, some hops to find a key, is left out: it is the same for
every key, and is measured with real daemons.
"""

import dataclasses
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric import rsa

from jaxswarm.records import STAGES, Position
from jaxswarm.swarm import codec, keys, rounds
from jaxswarm.swarm.clocks import HEARTBEAT_MARGIN_S
from jaxswarm.swarm.codec import Heartbeat
from jaxswarm.swarm.config import DhtConfig, Limits
from jaxswarm.swarm.identity import owner_tag
from jaxswarm.swarm.manifest import Manifest
from jaxswarm.swarm.neighbourhood import Neighbourhood
from jaxswarm.swarm.refusal import RefusedError
from jaxswarm.swarm.rounds import Member
from jaxswarm.swarm.shards import Shard
from jaxswarm.swarm.shelf import Shelf

DEFAULTS = DhtConfig("simulated", "")
MANIFEST = Manifest("data", 0, 8, "full 1").fields()
REPLICAS = 5
"""hivemind's: so many nodes keep a record, and each of them tells what it has to who asks for the
newest."""
SIGNATURE_BYTES = 344 + len("[signature:]")
OUTPUT_BYTES = 16_000
"""Eight replies of two thousand characters."""
STAGE_S = (20.0, 40.0)
"""What a learner takes for a stage, at least and at most."""
DEADLINE_S = 120.0
AHEAD_S = 24 * 3600.0

START = Position(0, 0)

UNBOUNDED = Limits(
    split_members=10**9, max_members=10**9, max_heard=10**9, max_partners=10**9, max_kept=10**9
)
"""One list for all, and everybody reads everybody."""


@dataclass
class Traffic:
    """What one node has asked of the DHT. Bytes of records, with their owners and signatures."""

    gets: int = 0
    stores: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    largest_reply: int = 0
    records_read: int = 0
    """Heartbeats. Each costs a check of its signature."""


class MemoryDht:
    """Records by key, with the real shelf for heartbeats. Counts what each caller asks."""

    def __init__(self, limits: Limits, nodes: int):
        own = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._frame_bytes = len(owner_tag(own.public_key())) + SIGNATURE_BYTES
        self._replicas = min(REPLICAS, nodes)
        self._shelf = Shelf(dataclasses.replace(limits, max_kept_bytes_in_all=1 << 40, place_s=0.0))
        self._outputs: set[str] = set()
        self.readers: Counter[str] = Counter()

    def beat(
        self, key: str, peer: str, payload: bytes, expiration: float, traffic: Traffic
    ) -> None:
        traffic.stores += 1
        traffic.bytes_sent += self._replicas * (len(payload) + self._frame_bytes)
        try:
            self._shelf.take(key.encode(), peer.encode(), payload, expiration, time_of(expiration))
        except RefusedError:
            return

    def heartbeats(self, key: str, now: float, traffic: Traffic) -> dict[str, tuple[bytes, float]]:
        kept = self._shelf.get(key.encode(), now)
        size = sum(len(each.value) + self._frame_bytes for each in kept.values())
        traffic.gets += 1
        traffic.records_read += self._replicas * len(kept)
        traffic.bytes_received += self._replicas * size
        traffic.largest_reply = max(traffic.largest_reply, size)
        return {peer.decode(): (each.value, each.expiration) for peer, each in kept.items()}

    def publish(self, key: str, traffic: Traffic) -> None:
        traffic.stores += 1
        traffic.bytes_sent += self._replicas * (OUTPUT_BYTES + self._frame_bytes)
        self._outputs.add(key)

    def output(self, key: str, traffic: Traffic) -> bool:
        traffic.gets += 1
        if key not in self._outputs:
            return False
        size = OUTPUT_BYTES + self._frame_bytes
        traffic.bytes_received += size  # the first answer will do
        traffic.largest_reply = max(traffic.largest_reply, size)
        self.readers[key] += 1
        return True


def time_of(expiration: float) -> float:
    """When a heartbeat was written."""
    return expiration - DEFAULTS.member_ttl_s - HEARTBEAT_MARGIN_S


@dataclass
class SimulatedNode:
    """One node: works, publishes, gathers and goes on, as Agent and waiting.py have it."""

    peer: str
    dht: MemoryDht
    limits: Limits
    draw: random.Random
    position: Position = START
    doing: str = "joining"
    read: set[str] = field(default_factory=set)
    missed: int = 0
    stages: int = 0
    traffic: Traffic = field(default_factory=Traffic)

    def __post_init__(self) -> None:
        ttl_s = DEFAULTS.member_ttl_s
        self.neighbourhood = Neighbourhood(self.peer, MANIFEST, ttl_s, self.limits)
        self._until = self._beat_at = self._looked_far_at = 0.0
        self._joined = False

    def step(self, now: float) -> None:
        """What it does at this second."""
        if not self._joined:
            self._look_far(now)
            self._enter(self.position, now, joining=True)
            self._joined = True
        if now >= self._beat_at:
            self._beat(now)
        if self.doing == "working" and now >= self._until:
            self.dht.publish(self._output_key(self.peer), self.traffic)
            self.doing, self._until = "gathering", now + DEADLINE_S
            self._beat(now)
        elif self.doing == "gathering":
            self._gather(now)
        elif self.doing == "waiting":
            self._look(self.neighbourhood.near(self.position.round), now)
            others = self._others(now)
            elsewhere = rounds.go_on(self.position, others, joining=False) != self.position
            if rounds.may_start(self.position, others) or elsewhere or now >= self._until:
                self._enter(self.position, now, joining=False)

    def _gather(self, now: float) -> None:
        self._look(self.neighbourhood.near(self.position.round), now)
        others, most = self._others(now), self.limits.max_partners
        partners = rounds.partners(self.position, others, self.read, most)
        out = rounds.said_published(self.position, partners)
        wanted = (out | rounds.to_read_once(self.position, partners)) - self.read
        for peer in sorted(wanted):
            if self.dht.output(self._output_key(peer), self.traffic):
                self.read.add(peer)
        missing = rounds.to_await(self.position, partners) - self.read
        if not missing or now >= self._until:
            self.missed += len(missing)
            self.stages += 1
            self._enter(self.position.next(), now, joining=False)

    def _enter(self, position: Position, now: float, *, joining: bool) -> None:
        target = rounds.go_on(position, self._others(now), joining=joining)
        self.position, self.read = target, set()
        if target != position and not rounds.may_start(target, self._others(now)):
            self.doing, self._until = "waiting", now + DEADLINE_S
        else:
            self.doing, self._until = "working", now + self.draw.uniform(*STAGE_S)
        self._beat(now)

    def _others(self, now: float) -> tuple[Member, ...]:
        return self.neighbourhood.live(self.position.round, now)

    def _beat(self, now: float) -> None:
        """What the agent's loop does at each heartbeat, and when there is something to say."""
        published, waiting = self.doing == "gathering", self.doing == "waiting"
        beat = Heartbeat(self.position, published, waiting, False, 1, MANIFEST)
        key = keys.members("simulated", self.neighbourhood.home)
        expiration = now + DEFAULTS.member_ttl_s + HEARTBEAT_MARGIN_S
        self.dht.beat(key, self.peer, codec.encode_heartbeat(beat), expiration, self.traffic)
        if now < self._beat_at:
            return
        self._beat_at = now + DEFAULTS.heartbeat_s
        if now - self._looked_far_at > DEFAULTS.member_ttl_s:
            self._look_far(now)
        self._look(self.neighbourhood.wide(self.position.round), now)
        self.neighbourhood.adapt(self.position.round, now)

    def _look_far(self, now: float) -> None:
        self._looked_far_at = now
        self._look(self.neighbourhood.path(), now)
        self.neighbourhood.follow(now)

    def _look(self, shards: frozenset[Shard], now: float) -> None:
        for shard in shards:
            key = keys.members("simulated", shard)
            for peer, (payload, expiration) in self.dht.heartbeats(key, now, self.traffic).items():
                if peer != self.peer:
                    heartbeat = _decode(payload)
                    self.neighbourhood.hear(shard, peer, heartbeat, expiration, now)

    def _output_key(self, peer: str) -> str:
        return keys.output("simulated", self.position, peer)


@lru_cache(maxsize=1 << 15)
def _decode(payload: bytes) -> Heartbeat:
    """Once, however many read it: there are few different ones, and time is not what is counted."""
    heartbeat = codec.decode(payload, "", Limits())
    assert isinstance(heartbeat, Heartbeat)
    return heartbeat


class Simulation:
    """`count` nodes that join within the first ten seconds. Time goes by the second."""

    def __init__(self, count: int, limits: Limits, seed: int = 0):
        draw = random.Random(seed)
        self.dht = MemoryDht(limits, count)
        self.nodes = [
            SimulatedNode(f"Qm{number}", self.dht, limits, random.Random(draw.random()))
            for number in range(count)
        ]
        # Ahead of the real clock, by which the members' table forgets what has expired.
        self.now = float(round(time.time())) + AHEAD_S
        self._starts = {node.peer: self.now + draw.uniform(0.0, 10.0) for node in self.nodes}

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1.0
            for node in self.nodes:
                if self._starts[node.peer] <= self.now:
                    node.step(self.now)

    def kill(self, peers: set[str]) -> None:
        """These end without a word."""
        self.nodes = [node for node in self.nodes if node.peer not in peers]

    def spread(self) -> int:
        """How many stages lie between the last and the first of the nodes at work, now."""
        at = [node.position for node in self.nodes if node.doing != "waiting"]
        steps = [position.round * len(STAGES) + position.stage_index for position in at]
        return max(steps, default=0) - min(steps, default=0)
