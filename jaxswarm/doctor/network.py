"""The node's door to its swarm: ports, peers, clocks, and who can reach it. Starts a daemon."""

import asyncio
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from jaxswarm.doctor.findings import Finding, Level
from jaxswarm.doctor.identity import in_use
from jaxswarm.swarm import ports
from jaxswarm.swarm.access import SAME_ACCESS
from jaxswarm.swarm.addresses import check_addresses, ip_in, is_loopback, peer_in
from jaxswarm.swarm.clocks import MAX_SKEW_S
from jaxswarm.swarm.config import DhtConfig
from jaxswarm.swarm.dht import Link, LinkError
from jaxswarm.swarm.gate import Gate
from jaxswarm.swarm.identity import open_identity

NOTED_SKEW_S = 5.0


def network(config: DhtConfig) -> Iterator[Finding]:
    """All that a short stay in the network tells.

    Raises:
      InputError: an address can't be used, or a port is taken.
    """
    check_addresses(config)
    path = Path(config.identity_path)
    if path.exists() and in_use(path):
        remedy = "stop it to look at the network, or read its status line"
        yield Finding(Level.WARNING, "network", "not looked at: the node runs", remedy)
        return
    asyncio.run(ports.wait_until_free(config.host_maddrs, wait_s=0.0))
    with tempfile.TemporaryDirectory(prefix="doctor-") as temporary:
        if not path.exists():  # a key of a moment: to make the node's own is the node's to do
            config = replace(config, identity_path=str(Path(temporary) / "key"))
        yield from asyncio.run(_visit(replace(config, identity_backup="")))


async def _visit(config: DhtConfig) -> list[Finding]:
    identity = open_identity(Path(config.identity_path))
    gate = Gate(config.name, config.limits, config.access.including(identity.peer))
    try:
        link = await Link.start(config, identity, gate)
    except LinkError as error:
        identity.close()
        remedy = "see that the machine lets it run and that the disk for /tmp is not full"
        return [Finding(Level.FAILURE, "p2p daemon", str(error), remedy)]
    try:
        seen = await link.visible_maddrs()
        findings = [reachability(config.announce_maddrs or seen, config)]
        return findings + await _peers(link, config)
    finally:
        await link.stop()
        identity.close()


async def _peers(link: Link, config: DhtConfig) -> list[Finding]:
    if not config.initial_peers:
        return [Finding(Level.OK, "peers", "none named: this node starts a swarm")]
    answers = await asyncio.gather(*(link.connect(maddr) for maddr in config.initial_peers))
    findings = []
    for maddr, answered in zip(config.initial_peers, answers, strict=True):
        if not answered:
            findings.append(_silent(maddr, link.turned_away(maddr)))
            continue
        findings.append(Finding(Level.OK, "peers", f"{maddr} answers"))
        ahead_s = await link.clock_ahead_s(peer_in(maddr))
        findings.append(clock(maddr, ahead_s))
        if not config.client_mode and not await link.is_called_back_by(peer_in(maddr)):
            remedy = "open the port, or set swarm.use_auto_relay"
            findings.append(
                Finding(Level.WARNING, "reachability", f"{maddr} can't call this node", remedy)
            )
    return findings


def _silent(maddr: str, reason: str | None) -> Finding:
    if reason:
        return Finding(Level.FAILURE, "peers", f"{maddr}: {reason}", SAME_ACCESS)
    remedy = (
        "see that it runs and that its port is open; take its address anew from its first lines or "
        "its node.json"
    )
    return Finding(Level.FAILURE, "peers", f"{maddr} doesn't answer", remedy)


def clock(maddr: str, ahead_s: float | None) -> Finding:
    """`ahead_s`: by how many seconds the peer's clock is ahead of this machine's."""
    if ahead_s is None:
        return Finding(Level.WARNING, "clock", f"{maddr} did not tell its time", "try again")
    found = f"that of {maddr} is {abs(ahead_s):.1f} s {'ahead' if ahead_s > 0 else 'behind'}"
    if abs(ahead_s) > MAX_SKEW_S:
        return Finding(Level.FAILURE, "clock", found, "set both by NTP: records get lost")
    if abs(ahead_s) > NOTED_SKEW_S:
        return Finding(Level.WARNING, "clock", found, "set both by NTP")
    return Finding(Level.OK, "clock", found)


def reachability(maddrs: Sequence[str], config: DhtConfig) -> Finding:
    """Whether any address by which others would dial this node leads here from outside.

    Args:
      maddrs: those addresses.
      config: what the node was told of them.
    """
    what = "reachability"
    if config.client_mode:
        return Finding(Level.OK, what, "not asked for: swarm.client_mode")
    if any(_is_public(maddr) for maddr in maddrs):
        return Finding(Level.OK, what, ", ".join(maddr for maddr in maddrs if _is_public(maddr)))
    if not config.announce_maddrs and all(map(is_loopback, config.host_maddrs)):
        return Finding(Level.OK, what, "this machine alone, as swarm.host_maddrs asks")
    remedy = (
        "fine within one network; for peers elsewhere forward a port and set "
        "swarm.announce_maddrs, or set swarm.use_auto_relay"
    )
    shown = ", ".join(maddrs) or "no address"
    return Finding(Level.WARNING, what, f"only from the same network: {shown}", remedy)


def secret(path: Path) -> Iterator[Finding]:
    """Whether the private swarm's secret is one."""
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield Finding(Level.WARNING, "secret", f"others can read {path}", f"chmod 400 {path}")
    else:
        yield Finding(Level.OK, "secret", str(path))


def _is_public(maddr: str) -> bool:
    if "/p2p-circuit" in maddr or maddr.startswith("/dns"):
        return True
    address = ip_in(maddr)
    return address is not None and address.is_global
