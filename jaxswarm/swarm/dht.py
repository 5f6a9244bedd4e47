"""The link to the network: one hivemind DHT node and its p2p daemon.

The other importers of hivemind: dht_guard.py, dht_packing.py, and addresses.py.

`DHTNode` on the caller's event loop, never `hivemind.DHT`: that forks, which is unsafe once JAX
runs, and its pipe breaks on messages of tens of kilobytes. Three things are done otherwise than
hivemind does them by itself:
- The daemon starts without initial peers, for which it would die if none of them answered
  (hivemind 1.1.12). They are dialled afterwards, as often as need be.
- All caches are off: heartbeats must be fresh, outputs are read once, and hivemind's table of
  pending reads never forgets a key.
- Every record passes the gate (gate.py), so that one bad value can't break a read of others, and
  what is kept for others is bounded (dht_guard.py).

When this process dies in whatever way, the daemon ends by itself: at once if a connection to it was
open (2 s, measured), else after the idle time below.
"""

import asyncio
import logging
import math
import os
from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from hivemind.dht.node import DHTNode
from hivemind.dht.routing import DHTID
from hivemind.p2p import PeerID
from hivemind.p2p.p2p_daemon_bindings.utils import P2PDaemonError
from hivemind.proto.dht_pb2 import PingRequest  # pyright: ignore[reportAttributeAccessIssue]
from hivemind.utils.timed_storage import get_dht_time

from jaxswarm.swarm import dht_guard, keys, ports
from jaxswarm.swarm.addresses import first_legible, is_loopback, peer_in, way_to
from jaxswarm.swarm.config import DhtConfig
from jaxswarm.swarm.dht_guard import Gatekeeper, GuardedP2P
from jaxswarm.swarm.gate import Gate
from jaxswarm.swarm.identity import Identity, peer_of
from jaxswarm.swarm.searches import Searches

IDLE_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 2.0
DAEMON_TIMEOUT_S = 10.0
"""Longer than a busy machine keeps a healthy daemon waiting; with `watch_s` still below 15 s."""

Result = TypeVar("Result")

Found = Mapping[bytes, tuple[bytes, float]]
"""What lies under a key: by owner tag, the payload and its expiration in seconds since 1970."""


class LinkError(Exception):
    """The daemon doesn't start, doesn't answer or has died."""


class Link:
    """A running DHT node. All methods belong on the event loop that started it."""

    def __init__(
        self,
        p2p: GuardedP2P,
        node: DHTNode,
        searches: Searches,
        config: DhtConfig,
        hosts: tuple[str, ...],
        gate: Gate,
    ):
        self.hosts = hosts
        self._p2p = p2p
        self._gate = gate
        self._node = node
        self._searches = searches
        self._config = config

    @classmethod
    async def start(
        cls,
        config: DhtConfig,
        identity: Identity,
        gate: Gate,
        previous: "Link | None" = None,
    ) -> "Link":
        """Starts the daemon and the node on it; alone until `connect`.

        Args:
          previous: the stopped link that this one replaces. What it kept for others lives on.

        Raises:
          InputError: an address of `host_maddrs` is not of this machine, or its port is in use.
          LinkError: the daemon doesn't start, with its own words.
        """
        logging.getLogger("hivemind").setLevel(logging.CRITICAL)  # failures are reported by us
        os.environ.setdefault("GOLOG_LOG_LEVEL", "FATAL")  # the daemon's own log
        hosts = config.host_maddrs
        await ports.wait_until_free(hosts)
        try:
            # Else hivemind would make a new key there, and this node would be another peer.
            if identity.put_back():
                raise LinkError(f"its identity file {identity.path} was gone; written again")
            # Longer than hivemind's own patience: it ends the daemon that it has waited for.
            patience = asyncio.timeout(config.startup_timeout_s + STOP_TIMEOUT_S)
            async with AsyncExitStack() as begun, patience:
                p2p: Any = await GuardedP2P.create(  # hivemind says P2P, whatever the class
                    identity_path=str(identity.path),
                    host_maddrs=hosts,
                    announce_maddrs=config.announce_maddrs or None,
                    use_relay=config.use_relay,
                    use_auto_relay=config.use_auto_relay,
                    trusted_relays=config.initial_peers if config.use_auto_relay else None,
                    force_reachability=_reachability(config),
                    dht_mode="client" if config.client_mode else "server",
                    startup_timeout=config.startup_timeout_s,
                    idle_timeout=IDLE_TIMEOUT_S,
                )
                begun.push_async_callback(_end, p2p)  # else it would keep the port
                if str(p2p.peer_id) != identity.peer:
                    raise LinkError(f"its identity file {identity.path} holds another key now")
                p2p.admit_by(gate)
                node = await DHTNode.create(
                    p2p=p2p,
                    node_id=dht_guard.place_of(p2p.peer_id),  # a restarted node takes its old place
                    record_validator=Gatekeeper(identity.private_key, gate),
                    client_mode=config.client_mode,
                    wait_timeout=config.call_timeout_s / 2,
                    cache_locally=False,
                    cache_nearest=0,
                    cache_on_store=False,
                    cache_refresh_before_expiry=0,
                    reuse_get_requests=False,
                    blacklist_time=5.0,
                    backoff_rate=1.0,
                )
                searches = Searches()
                dht_guard.put_on_guard(node, gate, searches, previous and previous._node)
                visible = [str(maddr) for maddr in await p2p.get_visible_maddrs()]
                begun.pop_all()
        except TimeoutError as error:
            raise LinkError(f"no p2p daemon after {config.startup_timeout_s:g} s") from error
        except (EOFError, P2PDaemonError, OSError, ValueError) as error:
            raise LinkError(str(error)) from error
        return cls(p2p, node, searches, config, ports.taken(hosts, visible), gate)

    async def store(self, key: str, tag: bytes, payload: bytes, expiration: float) -> bool:
        """Stores a signed record until `expiration`, in seconds since 1970. True if it was taken.

        A record that lives longer replaces the one before it under the same key and tag.
        """
        payload = self._gate.access.seal(payload, keys.record_id(key), peer_of(tag))
        try:
            async with asyncio.timeout(self._config.call_timeout_s):
                return await self._node.store(key, payload, expiration, subkey=tag)
        except Exception:  # noqa: BLE001 whatever breaks inside hivemind is a failed call to us
            return False

    async def get(self, name: str, *, latest: bool, at_most_s: float = math.inf) -> Found:
        """What lies under this key, as far as it is found in time.

        Args:
          name: the key.
          latest: ask all nodes that may hold the key and join their answers, instead of taking the
            first one.
          at_most_s: when to be content with the answers that have come. No call takes longer than
            `call_timeout_s`.
        """
        record_id, unseal = keys.record_id(name), self._gate.access.unseal
        protocol: Any = self._node.protocol
        with self._searches.collecting(record_id) as so_far:
            if kept := protocol.storage.get(DHTID.from_bytes(record_id)):
                self._searches.found(record_id, kept.value)
            try:
                async with asyncio.timeout(min(self._config.call_timeout_s, at_most_s)):
                    found = await self._node.get(name, latest=latest)
                entries = found.value if found else {}
            except TimeoutError:
                entries = protocol.serializer.payloads(so_far, record_id, protocol.record_validator)
            except Exception:  # noqa: BLE001 as for `store`
                return {}
        return {
            tag: (unseal(entry.value, record_id, peer_of(tag)), entry.expiration_time)
            for tag, entry in entries.items()
        }

    async def connect(self, maddr: str) -> bool:
        """Dials a peer and, if it answers, makes both known to each other. False if it doesn't."""
        peer = PeerID.from_base58(peer_in(maddr))
        try:
            async with asyncio.timeout(self._config.call_timeout_s):
                # P2P has no public way to dial an address; its client does.
                client: Any = self._p2p._client
                await client.connect(peer, [way_to(maddr)])
                # One that gives another node's place is not noted, and would be dialled for ever.
                if await self._node.protocol.call_ping(peer) != dht_guard.place_of(peer):
                    return False
                await self._node.find_nearest_nodes([self._node.node_id])
        except Exception:  # noqa: BLE001 as for `store`
            return False
        return True

    async def clock_ahead_s(self, peer: str) -> float | None:
        """By how many seconds a peer's clock is ahead of this node's; None if it doesn't answer."""
        stub: Any = self._node.protocol.get_stub(PeerID.from_base58(peer))
        asked = get_dht_time()
        try:
            async with asyncio.timeout(self._config.call_timeout_s):
                answer = await stub.rpc_ping(PingRequest())
        except Exception:  # noqa: BLE001 as for `store`
            return None
        ahead_s = answer.dht_time - (asked + get_dht_time()) / 2
        return ahead_s if math.isfinite(ahead_s) else None

    async def is_called_back_by(self, peer: str) -> bool:
        """Whether a peer, asked to, can call this node."""
        stub: Any = self._node.protocol.get_stub(PeerID.from_base58(peer))
        try:
            async with asyncio.timeout(self._config.call_timeout_s):
                answer = await stub.rpc_ping(
                    PingRequest(peer=self._node.protocol.node_info, validate=True)
                )
        except Exception:  # noqa: BLE001 as for `store`
            return False
        return bool(answer.available)

    def turned_away(self, maddr: str) -> str | None:
        """Why the peer at this address and this node don't talk, if one of them is an outsider."""
        return self._p2p.turned_away.get(peer_in(maddr))

    def knows(self, peer: str) -> bool:
        """Whether the peer answered lately, so that calls may go to it."""
        return self._node.protocol.routing_table.get(peer_id=PeerID.from_base58(peer)) is not None

    async def connections(self) -> dict[str, str]:
        """The peers to which the daemon holds a connection, each with an address that leads to it.

        Raises:
          LinkError: the daemon is dead or hangs, or this node no longer hears it.
        """
        client: Any = self._p2p._client
        if client.control._read_task.done():
            # The daemon has died, or hivemind's reader of what it says.
            raise LinkError("the p2p daemon doesn't answer: it is no longer heard")
        infos = await _answer(self._p2p.list_peers())
        ways = {info.peer_id: first_legible(info.addrs) for info in infos}
        return {str(peer): f"{way}/p2p/{peer}" for peer, way in ways.items() if way}

    async def visible_maddrs(self) -> tuple[str, ...]:
        """The addresses by which others can join this node, those of this machine alone last.

        They may change: a relay is found, an address of the machine comes or goes.

        Raises:
          LinkError: the daemon is dead or hangs.
        """
        try:
            maddrs = [str(m) for m in await _answer(self._p2p.get_visible_maddrs(latest=True))]
        except ValueError:  # hivemind's way to say that there are none
            return ()
        return tuple(sorted(maddrs, key=is_loopback))

    async def stop(self) -> None:
        """Ends the daemon, by force if it hangs."""
        self._node.is_alive = False
        await _end(self._p2p)


def _reachability(config: DhtConfig) -> str | None:
    """What the config says of it; None: nothing, and the daemon asks its peers.

    Only a public daemon relays for others, only a private one looks for a relay. In a small swarm
    asking leads nowhere: only who knows himself to be public answers.
    """
    if config.announce_maddrs:
        return "public"
    return "private" if config.use_auto_relay else None


async def _end(p2p: GuardedP2P) -> None:
    child: Any = p2p._child
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await p2p.shutdown()
    except TimeoutError:
        child.kill()  # a stopped process takes no other signal
        await child.wait()


async def _answer(question: Awaitable[Result]) -> Result:
    """The daemon's answer to a question that it always can answer at once."""
    try:
        async with asyncio.timeout(DAEMON_TIMEOUT_S):
            return await question
    except (TimeoutError, EOFError, P2PDaemonError, OSError) as error:
        raise LinkError(f"the p2p daemon doesn't answer: {error!r}") from error
