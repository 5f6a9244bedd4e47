"""A node's presence in the swarm, over a network without wires: the others' gate and shelf."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from jaxswarm.errors import InputError
from jaxswarm.records import Position
from jaxswarm.swarm import codec, contacts, keys, manifest
from jaxswarm.swarm.agent import KEPT_POSITIONS, Agent
from jaxswarm.swarm.config import DhtConfig, Limits
from jaxswarm.swarm.contacts import Contacts
from jaxswarm.swarm.dht import Found
from jaxswarm.swarm.gate import Gate
from jaxswarm.swarm.identity import Identity, open_identity, peer_of
from jaxswarm.swarm.manifest import Manifest
from jaxswarm.swarm.refusal import RefusedError
from jaxswarm.swarm.shelf import Shelf
from jaxswarm.swarm.uplink import OnEvent
from tests.swarm.node_process import MANIFEST, output

pytestmark = pytest.mark.faults

ANSWER = Position(0, 0)
LIMITS = Limits(max_partners=2)
AHEAD_S = 40.0
"""Of a clock: more than a swarm allows for."""

HEARTBEAT_S = 5.0
"""Between two heartbeats of a node."""


class Network:
    """What a node reaches by its link: a peer that keeps records, whose clock is right.

    `slow`: the keys that take a minute to look up, or to store under. `stored`: the keys of what
    was kept, one after the other. `reached`: the peers to which there is a way.
    """

    def __init__(self) -> None:
        self.slow: set[str] = set()
        self.stored: list[str] = []
        self.reached: set[str] = set()
        self._gate = Gate("test", LIMITS)
        self._shelf = Shelf(LIMITS)

    async def store(self, key: str, tag: bytes, payload: bytes, expiration: float) -> bool:
        if key in self.slow:
            await asyncio.sleep(60.0)
        record_id, value = keys.record_id(key), msgpack.packb(payload)
        assert isinstance(value, bytes)
        try:
            self._gate.admit(record_id, peer_of(tag), value, expiration)
            taken = self._shelf.take(record_id, tag, payload, expiration, time.time())
            self.stored += [key] * taken
            return taken
        except RefusedError:
            return False

    async def get(self, name: str, *, latest: bool, at_most_s: float) -> Found:  # noqa: ARG002
        if name in self.slow:
            await asyncio.sleep(min(60.0, at_most_s))
            return {}
        return self.kept(name)

    def knows(self, peer: str) -> bool:
        return peer in self.reached

    def kept(self, name: str) -> Found:
        kept = self._shelf.get(keys.record_id(name), time.time())
        return {tag: (each.value, each.expiration) for tag, each in kept.items()}


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> list[Identity]:
    directory: Path = tmp_path_factory.mktemp("identities")
    return [open_identity(directory / name) for name in "abcd"]


Start = Callable[..., Agent]


@pytest.fixture
def start(network: Network, identities: list[Identity]) -> Start:
    """Makes a node by the number of its identity; it has a link at once, and no loops."""

    def make(
        number: int, on_event: OnEvent = lambda _: None, data: str = "", **settings: Any
    ) -> Agent:
        identity = identities[number]
        config = DhtConfig(
            "test", str(identity.path), limits=LIMITS, call_timeout_s=0.2, **settings
        )
        own = Manifest(**MANIFEST | ({"data": data} if data else {}))
        agent = Agent(config, own, identity, on_event)
        link: Any = network
        agent._uplink.link = link
        return agent

    return make


class Clock:
    """This process's clock, `ahead_s` before the right one."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self._true_time = time.time

    def __call__(self) -> float:
        return self._true_time() + self.ahead_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "time", made)
    return made


async def store(network: Network, identity: Identity, position: Position) -> str:
    """Puts out what a peer has for a position; its key."""
    key = keys.output("test", position, identity.peer)
    payload = codec.encode_output(output(identity.peer, position, "t"))
    assert await network.store(key, identity.tag, payload, time.time() + 60.0)
    return key


def test_a_node_that_comes_back_from_far_ahead_puts_out_what_it_publishes(
    network: Network, identities: list[Identity], start: Start
) -> None:
    async def play() -> None:
        node, peer = start(0), identities[0].peer
        for round_ in (20, 21):
            for index in range(3):
                assert await node.publish(output(peer, Position(round_, index), "ahead"))
        assert await node.publish(output(peer, Position(10, 0), "back"))
        assert network.kept(keys.output("test", Position(10, 0), peer))
        assert len(node._outbox) == KEPT_POSITIONS

    asyncio.run(play())


def test_of_two_outputs_the_one_that_comes_in_time_is_read_beside_one_that_does_not(
    network: Network, identities: list[Identity], start: Start
) -> None:
    async def play() -> None:
        node, b, c = start(0), *identities[1:3]
        await store(network, b, ANSWER)
        network.slow.add(await store(network, c, ANSWER))
        assert (await node.read(ANSWER, (b.peer, c.peer), 0.1)).keys() == {b.peer}
        network.slow.clear()
        assert (await node.read(ANSWER, (b.peer, c.peer), 0.1)).keys() == {b.peer, c.peer}

    asyncio.run(play())


def test_however_many_positions_a_peer_names_so_many_outputs_are_remembered(
    network: Network, identities: list[Identity], start: Start
) -> None:
    async def play() -> None:
        node, b = start(0), identities[1]
        for round_ in range(40):
            await store(network, b, Position(round_, 0))
            position = Position(round_, 0)
            assert (await node.read(position, (b.peer,), 1.0)).keys() == {b.peer}
        for round_ in reversed(range(40)):
            assert (await node.read(Position(round_, 0), (b.peer,), 1.0)).keys() == {b.peer}
        lacking = [node._readings.lacking(Position(round_, 0), (b.peer,)) for round_ in range(40)]
        assert lacking.count([]) == KEPT_POSITIONS * LIMITS.max_partners

    asyncio.run(play())


async def killed_while_ahead(start: Start, clock: Clock, started_ahead_s: float = -60.0) -> Agent:
    """A node that started by one clock and last beat by one that was fast; now it is right."""
    clock.ahead_s = started_ahead_s
    killed = start(0)
    clock.ahead_s = AHEAD_S
    killed.say(ANSWER, published=False, waiting=False)
    assert await killed._beat()
    clock.ahead_s = 0.0
    return killed


@pytest.mark.parametrize("started_ahead_s", [-60.0, AHEAD_S])
def test_a_node_whose_clock_was_set_back_between_two_runs_is_heard_at_once(
    start: Start, clock: Clock, started_ahead_s: float
) -> None:
    """Whether its earlier run seems to have begun before this one or after it."""

    async def play() -> None:
        await killed_while_ahead(start, clock, started_ahead_s)
        again, other = start(0), start(1)
        (before,) = await other.refresh()
        assert before.position == ANSWER
        for round_ in (1, 2):
            await again.refresh()  # nobody beats on: it isn't in use elsewhere
            again.say(Position(round_, 0), published=False, waiting=False)
            assert await again._beat()
            (heard,) = await other.refresh()
            assert heard.position == Position(round_, 0)

    asyncio.run(play())


def test_a_node_that_beats_on_by_a_fast_clock_makes_its_younger_twin_give_way(
    start: Start, clock: Clock
) -> None:
    async def play() -> None:
        older = await killed_while_ahead(start, clock)
        twin = start(0)
        await twin.refresh()
        twin.say(ANSWER, published=False, waiting=False)
        for beats in (1, 2):
            assert await twin._beat()
            clock.ahead_s = AHEAD_S + beats * HEARTBEAT_S
            assert await older._beat()
            clock.ahead_s = 0.0
            if beats == 1:
                await twin.refresh()  # one that was kept from before may turn up late
        with pytest.raises(InputError, match="in use by a live node elsewhere"):
            await twin.refresh()

    asyncio.run(play())


async def beats(*agents: Agent) -> None:
    for agent in agents:
        agent.say(ANSWER, published=False, waiting=False)
        assert await agent._beat()


def way_to(identity: Identity) -> str:
    return f"/ip4/127.0.0.1/tcp/4001/p2p/{identity.peer}"


def test_a_node_that_comes_back_to_its_swarm_is_stopped_by_no_other_manifest(
    start: Start, identities: list[Identity], tmp_path: Path
) -> None:
    """After a power cut the liar may be the first that it hears."""
    path = tmp_path / "contacts.json"
    mark = manifest.mark(Manifest(**MANIFEST).fields())
    met = ((identities[1].peer, way_to(identities[1])),)
    contacts.write(path, Contacts("test", peers=met, manifest=mark))
    said: list[str] = []

    async def play() -> None:
        await beats(start(1, data="lies"))
        away = (way_to(identities[1]), way_to(identities[3]))
        for initial_peers in ((), away):
            said.clear()
            back = start(0, said.append, contacts_path=str(path), initial_peers=initial_peers)
            await back.refresh()
            await back.refresh()
            assert not back.fatal
        changed = start(2, data="mine", contacts_path=str(path))
        with pytest.raises(InputError, match=r"manifest, field 'data': got 'mine'"):
            await changed.refresh()

    asyncio.run(play())
    (line,) = said
    assert "manifest, field 'data'" in line
    assert line.endswith("goes on")


def test_strangers_alone_tell_a_newcomer_nothing_and_its_initial_peer_more_than_they(
    network: Network, start: Start, identities: list[Identity]
) -> None:
    async def play() -> None:
        liar, initial = start(1, data="lies"), start(2)
        newcomer = start(0, initial_peers=(way_to(identities[2]),))
        await beats(liar)
        await newcomer.refresh()
        assert not newcomer._agreement.is_settled, "the initial peer is down: this may be anybody"
        network.reached.add(identities[2].peer)
        await beats(initial)
        await newcomer.refresh()
        assert newcomer._agreement.is_settled

    asyncio.run(play())


def test_members_of_the_initial_peer_s_swarm_tell_what_it_has_in_common(
    network: Network, start: Start, identities: list[Identity]
) -> None:
    async def play() -> None:
        newcomer = start(0, initial_peers=(way_to(identities[2]),))
        network.reached.add(identities[2].peer)
        await beats(start(1, data="theirs"))
        await newcomer.refresh()
        assert not newcomer._agreement.is_settled, "the initial peer may be still on its way"
        await beats(start(3, data="theirs"))
        with pytest.raises(InputError, match=r"expected 'theirs', as the swarm's members have it"):
            await newcomer.refresh()

    asyncio.run(play())


def test_no_heartbeat_asks_for_a_longer_life_than_the_others_allow(
    start: Start, clock: Clock
) -> None:
    async def play() -> None:
        node = start(0)
        node.say(ANSWER, published=False, waiting=False)
        clock.ahead_s = 2 * LIMITS.max_heartbeat_ttl_s
        assert await node._beat()
        latest = node._beat_expires
        clock.ahead_s = 0.0
        await node._beat()
        assert node._beat_expires <= time.time() + LIMITS.max_heartbeat_ttl_s < latest

    asyncio.run(play())


def test_who_is_slow_to_keep_or_to_answer_delays_no_heartbeat_and_no_other_output(
    network: Network, identities: list[Identity], start: Start
) -> None:
    async def play() -> None:
        node, peer = start(0), identities[0].peer
        members = keys.members("test")
        first, second = (Position(0, index) for index in range(2))
        node.say(first, published=False, waiting=False)
        loops = [asyncio.create_task(loop) for loop in node._loops()]
        network.slow.add(keys.output("test", first, peer))
        assert not await node.publish(output(peer, first, "one"))
        assert await node.publish(output(peer, second, "two"))
        network.slow.add(keys.output("test", first, identities[1].peer))
        looking = asyncio.create_task(node.read(first, (identities[1].peer,), 60.0))
        beats = network.stored.count(members)
        for _ in range(3):
            node.say(second, published=True, waiting=False)
            await asyncio.sleep(0.02)
        assert network.stored.count(members) == beats + 3
        for task in (*loops, looking):
            task.cancel()

    asyncio.run(play())
