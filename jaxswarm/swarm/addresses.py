"""Multiaddresses: which of them can be one, and to whom they lead."""

import re

from hivemind.utils.multiaddr import Multiaddr

from jaxswarm.errors import InputError
from jaxswarm.swarm.config import DhtConfig


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


def leads_to(maddr: str) -> str | None:
    """The id of the peer to which a multiaddress leads; None if it is none that can be dialled."""
    return None if _fault("initial_peers", maddr) else peer_in(maddr)


def _fault(flag: str, address: str) -> str | None:
    """What was expected instead of this address; None if it will do."""
    example = "a multiaddr like /ip4/203.0.113.7/tcp/31337"
    try:
        Multiaddr(address)
    except (ValueError, TypeError):
        return example + ("/p2p/<peer id>" if flag == "initial_peers" else "")
    if flag == "initial_peers" and not all(address.rpartition("/p2p/")[::2]):
        return f"{example}/p2p/<peer id>"
    if flag == "announce_maddrs" and re.search(r"/(tcp|udp)/0(/|$)", address):
        return "an announced address with its real port, not 0"
    return None
