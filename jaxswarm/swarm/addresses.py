"""Multiaddresses: which of them can be one, and to whom and by what way they lead."""

import ipaddress
import re
from collections.abc import Iterable
from contextlib import suppress

from hivemind.p2p import PeerID
from hivemind.utils.multiaddr import Multiaddr

from jaxswarm.errors import InputError
from jaxswarm.swarm.config import DhtConfig

_P2P = b"\xa5\x03"
"""The code of /p2p/ in packed multiaddresses."""


def check_addresses(config: DhtConfig) -> None:
    """Raises InputError for an address that can't be one, before anything is started."""
    for flag, addresses in (
        ("initial_peers", config.initial_peers),
        ("host_maddrs", config.host_maddrs),
        ("announce_maddrs", config.announce_maddrs),
    ):
        for address in addresses:
            expected = _fault(flag, address)
            if expected:
                raise InputError(
                    f"swarm.{flag}",
                    got=address,
                    expected=expected,
                    remedy="correct it; a running node prints the addresses by which to join it",
                )


def peer_in(maddr: str) -> str:
    """The id of the peer to which a multiaddr leads: its last /p2p/ part, after any relay."""
    return maddr.rpartition("/p2p/")[2]


def way_to(maddr: str) -> Multiaddr:
    """Where the peer of a multiaddress is dialled: without its id, through its relay if any.

    hivemind packs a relay's id as a CID, which its daemon can't read (1.1.12): here as it is.
    """
    way = maddr.rpartition("/p2p/")[0]
    relay_at, found, relay = way.rpartition("/p2p/")
    if not found:
        return Multiaddr(way)
    peer, _, rest = relay.partition("/")
    peer_id = PeerID.from_base58(peer).to_bytes()
    packed = (_packed(relay_at), _P2P, bytes([len(peer_id)]), peer_id, _packed(f"/{rest}"))
    return Multiaddr(b"".join(packed))


def ip_in(maddr: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a multiaddr begins with; None if it begins otherwise."""
    match = re.match(r"/ip[46]/([^/]+)/", maddr)
    return ipaddress.ip_address(match[1]) if match else None


def is_loopback(maddr: str) -> bool:
    """Whether it leads to this machine alone."""
    address = ip_in(maddr)
    return address is not None and address.is_loopback


def first_legible(maddrs: Iterable[Multiaddr]) -> str | None:
    """Of the daemon's addresses one that hivemind can print: it lacks the younger protocols."""
    for maddr in maddrs:
        with suppress(ValueError):
            return str(maddr)
    return None


def leads_to(maddr: str) -> str | None:
    """The id of the peer to which a multiaddress leads; None if it is none that can be dialled."""
    return None if _fault("initial_peers", maddr) else peer_in(maddr)


def is_host(maddr: str) -> bool:
    """Whether it is a multiaddress to listen at: its port is a number that there is."""
    return not _fault("host_maddrs", maddr)


def _packed(maddr: str) -> bytes:
    return Multiaddr(maddr).to_bytes() if maddr else b""


def _has_a_peer(address: str) -> bool:
    """Whether it ends in the id of a peer, and says by what way to reach it."""
    try:
        PeerID.from_base58(peer_in(address))
        return bool(way_to(address).to_bytes())
    except ValueError:
        return False


def _fault(flag: str, address: str) -> str | None:
    """What was expected instead of this address; None if it will do."""
    example = "a multiaddr like /ip4/203.0.113.7/tcp/31337"
    try:
        Multiaddr(address)
    except (ValueError, TypeError):
        return example + ("/p2p/<peer id>" if flag == "initial_peers" else "")
    if flag == "initial_peers" and not _has_a_peer(address):
        return f"{example}/p2p/<peer id>"
    if flag == "announce_maddrs" and re.search(r"/(tcp|udp)/0(/|$)", address):
        return "an announced address with its real port, not 0"
    return None
