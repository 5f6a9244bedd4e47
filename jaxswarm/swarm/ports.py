"""The ports on which a node listens: free before its daemon starts, kept when it restarts."""

import asyncio
import errno
import re
import socket
from collections.abc import Sequence

from jaxswarm.errors import InputError

WAIT_S = 6.0
"""The daemon of a node that was just killed ends within 2 s and gives its port free."""


async def wait_until_free(host_maddrs: Sequence[str], wait_s: float = WAIT_S) -> None:
    """Returns when every named TCP port is free.

    The daemon would share a port with another program without a word, and get half of its calls.
    """
    deadline = asyncio.get_running_loop().time() + wait_s
    for maddr in host_maddrs:
        while error := _listen_error(maddr):
            if error.errno == errno.EADDRINUSE and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(0.2)
                continue
            raise InputError(
                "swarm.host_maddrs",
                got=f"{maddr} ({error.strerror})",
                expected="addresses of this machine with free ports",
                remedy="stop what listens there, or choose another port (0 takes a free one)",
            ) from error


def _listen_error(maddr: str) -> OSError | None:
    parts = maddr.split("/")
    if len(parts) < 5 or parts[1] not in ("ip4", "ip6") or parts[3] != "tcp" or parts[4] == "0":
        return None
    family = socket.AF_INET if parts[1] == "ip4" else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Passes over connections that are still closing, but not over one who listens.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((parts[2], int(parts[4])))
        except OSError as error:
            return error
    return None


def taken(host_maddrs: Sequence[str], visible: Sequence[str]) -> tuple[str, ...]:
    """`host_maddrs` with each port 0 replaced by the one that the daemon took."""
    ports = {}
    for maddr in visible:
        parts = maddr.split("/")
        ports.setdefault((parts[1], parts[3]), parts[4])
    return tuple(
        re.sub(
            r"^(/(ip[46])/[^/]+/(tcp|udp)/)0(?=/|$)",
            lambda m: m[1] + ports.get((m[2], m[3]), "0"),
            maddr,
        )
        for maddr in host_maddrs
    )
