"""A NAT in the tests' network: a host behind it can call others, and nobody can call it.

It is a symmetric one, the strictest kind that home lines and mobile networks have: each remote
end sees another port, so that no hole can be punched through it.
"""

import itertools
from dataclasses import dataclass, field

_TCP, _UDP = 6, 17
_CHECKSUM_AT = {_TCP: 16, _UDP: 6}
"""Where the checksum lies in a segment's header."""
_FIRST_PORT = 20_000


@dataclass(frozen=True, slots=True)
class _Flow:
    """Between a port behind the NAT and one of a remote host."""

    protocol: int
    port: bytes
    remote: bytes
    """Address and port."""


@dataclass
class Nat:
    """Between one host and the network. Addresses are of IPv4, packed."""

    inside: bytes
    outside: bytes
    _port_of: dict[_Flow, bytes] = field(default_factory=dict)
    _flow_of: dict[tuple[int, bytes, bytes], _Flow] = field(default_factory=dict)
    """By protocol, outer port and remote end."""
    _free: itertools.count = field(default_factory=lambda: itertools.count(_FIRST_PORT))

    def outwards(self, packet: bytes) -> bytes | None:
        """A packet of the host as the network sees it; None: neither TCP nor UDP."""
        head, protocol = _head_of(packet), packet[9]
        if protocol not in _CHECKSUM_AT:
            return None
        remote = packet[16:20] + packet[head + 2 : head + 4]
        flow = _Flow(protocol, packet[head : head + 2], remote)
        if flow not in self._port_of:
            port = next(self._free).to_bytes(2)
            self._port_of[flow] = port
            self._flow_of[protocol, port, remote] = flow
        return _readdressed(packet, 12, self.outside, head, self._port_of[flow])

    def inwards(self, packet: bytes) -> bytes | None:
        """A packet for the host as the host sees it; None: from one that it hasn't called."""
        head, protocol = _head_of(packet), packet[9]
        remote = packet[12:16] + packet[head : head + 2]
        flow = self._flow_of.get((protocol, packet[head + 2 : head + 4], remote))
        return _readdressed(packet, 16, self.inside, head + 2, flow.port) if flow else None


def _head_of(packet: bytes) -> int:
    """How long the packet's own header is."""
    return 4 * (packet[0] & 0x0F)


def _readdressed(
    packet: bytes, address_at: int, address: bytes, port_at: int, port: bytes
) -> bytes:
    """With another address and port, and checksums amended for them (RFC 1624)."""
    made = bytearray(packet)
    old_address, old_port = made[address_at : address_at + 4], made[port_at : port_at + 2]
    made[address_at : address_at + 4], made[port_at : port_at + 2] = address, port
    _amend(made, 10, old_address, address)
    checksum_at = _head_of(packet) + _CHECKSUM_AT[packet[9]]
    _amend(made, checksum_at, old_address + old_port, address + port)
    return bytes(made)


def _amend(packet: bytearray, checksum_at: int, old: bytes, new: bytes) -> None:
    total = 0xFFFF - int.from_bytes(packet[checksum_at : checksum_at + 2])
    total += sum(0xFFFF - word for word in _words(old)) + sum(_words(new))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    packet[checksum_at : checksum_at + 2] = (0xFFFF - total).to_bytes(2)


def _words(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + 2]) for at in range(0, len(data), 2)]
