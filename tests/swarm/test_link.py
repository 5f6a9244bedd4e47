"""One link with a real daemon, in this process: what hivemind may do to it, and what it leaves."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from hivemind.p2p import PeerID

from jaxswarm.swarm import dht
from jaxswarm.swarm.config import DhtConfig
from jaxswarm.swarm.dht import Link, LinkError
from jaxswarm.swarm.dht_guard import place_of
from jaxswarm.swarm.gate import Gate
from jaxswarm.swarm.identity import open_identity


@pytest.fixture
def with_link(tmp_path: Path) -> Callable[[Callable[[Link], Awaitable[None]]], None]:
    """Runs something on a link that is alone in its network."""
    config = DhtConfig(
        "test", str(tmp_path / "key"), host_maddrs=("/ip4/127.0.0.1/tcp/0",), use_relay=False
    )
    identity = open_identity(tmp_path / "key")
    gate = Gate("test", config.limits)

    async def run(scenario: Callable[[Link], Awaitable[None]]) -> None:
        link = await Link.start(config, identity, gate)
        try:
            await scenario(link)
        finally:
            await link.stop()

    yield lambda scenario: asyncio.run(run(scenario))
    identity.close()


def daemons() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "p2pd" in child.name()]


def test_a_node_that_no_longer_hears_its_daemon_notices(with_link) -> None:
    async def scenario(link: Link) -> None:
        assert await link.connections() == {}
        control: Any = link._p2p._client.control
        control._read_task.cancel()
        await asyncio.sleep(0)
        with pytest.raises(LinkError, match="no longer heard"):
            await link.connections()

    with_link(scenario)


def test_a_start_that_fails_late_leaves_no_daemon_behind(with_link, monkeypatch) -> None:
    async def fail(**_: object) -> None:
        assert daemons()
        raise TimeoutError

    monkeypatch.setattr(dht.DHTNode, "create", fail)
    with pytest.raises(LinkError, match="no p2p daemon"):
        with_link(lambda _: asyncio.sleep(0))
    assert daemons() == []


def test_of_those_who_call_no_more_are_noted_than_can_take_a_place(with_link) -> None:
    async def scenario(link: Link) -> None:
        protocol: Any = link._node.protocol
        for number in range(3000):
            peer = PeerID(b"\x12\x20" + number.to_bytes(32, "big"))
            await protocol.update_routing_table(place_of(peer), peer)
        table = protocol.routing_table
        noted = [len(b.nodes_to_peer_id) + len(b.replacement_nodes) for b in table.buckets]
        assert max(noted) <= 2 * protocol.bucket_size
        assert sum(noted) == len(table.uid_to_peer_id) == len(table.peer_id_to_uid)

    with_link(scenario)
