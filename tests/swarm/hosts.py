"""Separate hosts on one machine: network namespaces, and a wide-area network between them.

The network is a process of ours that carries the packets from one host's TUN device to another's.
So it can delay and lose them and cut the hosts apart on every kernel that has namespaces and TUN
devices; netem and netfilter are modules that many lack.
"""

import ctypes
import fcntl
import heapq
import itertools
import multiprocessing
import os
import selectors
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from multiprocessing.connection import Connection
from random import Random

from tests.swarm.nat import Nat

TUN = "/dev/net/tun"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000
_PACKET_BYTES = 65536
_CONTEXT = multiprocessing.get_context("forkserver")
_counter = itertools.count()


def why_not() -> str:
    """Why hosts can't be made here; "" if they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not shutil.which("ip"):
        return "there is no ip command"
    if not os.path.exists(TUN):
        return f"there is no {TUN}"
    probe = f"probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode:
        return f"ip netns add: {made.stderr.strip()}"
    try:
        os.close(_open_tun(probe))
    except OSError as error:
        return f"no TUN device in a namespace: {error}"
    finally:
        _run("ip", "netns", "del", probe)
    return ""


@dataclass(frozen=True)
class Host:
    """`namespace`: its name for `ip netns`. `address`: of IPv4, as other hosts see it."""

    namespace: str
    address: str


class WideAreaNetwork:
    """Hosts, and the way between them. `close` takes all of it down.

    Args:
      delay_s: from one host to another, one way.
      loss: the share of packets that never arrive.
    """

    def __init__(self, delay_s: float = 0.0, loss: float = 0.0):
        self._here, there = _CONTEXT.Pipe()
        self._namespaces: list[str] = []
        self._process = _CONTEXT.Process(target=_carry, args=(there, delay_s, loss), daemon=True)
        self._process.start()
        there.close()

    def host(self) -> Host:
        """A host with an address of its own on the network."""
        namespace, address = self._namespace()
        return self._connected(Host(namespace, address), address)

    def host_behind_nat(self) -> Host:
        """A host that can call others and that nobody can call."""
        namespace, address = self._namespace()
        return self._connected(Host(namespace, address), f"192.168.{len(self._namespaces)}.2")

    def _connected(self, host: Host, own_address: str) -> Host:
        """With a device that has the address which the host believes to be its own."""
        self._here.send(("host", host.namespace, host.address, own_address))
        self._here.recv()
        _run("ip", "-n", host.namespace, "address", "add", f"{own_address}/24", "dev", "wan")
        _run("ip", "-n", host.namespace, "link", "set", "wan", "up")
        _run("ip", "-n", host.namespace, "route", "add", "default", "dev", "wan")
        return host

    def cut(self, half: Collection[Host]) -> None:
        """No packet gets between these hosts and all others until `heal`."""
        self._here.send(("cut", [host.address for host in half]))
        self._here.recv()

    def heal(self) -> None:
        self.cut(())

    def carried(self) -> int:
        """Packets delivered so far."""
        self._here.send(("carried",))
        return self._here.recv()

    def close(self) -> None:
        self._process.kill()
        self._process.join()
        self._here.close()
        for namespace in self._namespaces:
            _run("ip", "netns", "del", namespace)

    def _namespace(self) -> tuple[str, str]:
        """A new one, and the next address of the network."""
        namespace = f"swarm-{os.getpid()}-{next(_counter)}"
        _run("ip", "netns", "add", namespace)
        self._namespaces.append(namespace)
        _run("ip", "-n", namespace, "link", "set", "lo", "up")
        return namespace, f"44.0.0.{len(self._namespaces)}"


def move_to(namespace: str) -> None:
    """Makes a network namespace the host of this thread, and of the processes that it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}") as file:
        if libc.setns(file.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns to {namespace}")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _open_tun(namespace: str) -> int:
    """A TUN device `wan` in a namespace. A thread is moved there and ends; the device stays."""
    opened: list[int | OSError] = []

    def open_there() -> None:
        try:
            move_to(namespace)
            device = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", b"wan", _IFF_TUN | _IFF_NO_PI))
            opened.append(device)
        except OSError as error:
            opened.append(error)

    thread = threading.Thread(target=open_there)
    thread.start()
    thread.join()
    if isinstance(opened[0], OSError):
        raise opened[0]
    return opened[0]


def _carry(there: Connection, delay_s: float, loss: float) -> None:
    """The network: reads each packet from its sender's device, writes it to its receiver's."""
    random, order = Random(0), itertools.count()
    device_of: dict[bytes, int] = {}
    nat_of: dict[int, Nat] = {}
    far_side: frozenset[bytes] = frozenset()
    under_way: list[tuple[float, int, bytes, bytes]] = []
    carried = 0
    with selectors.DefaultSelector() as selector:
        selector.register(there, selectors.EVENT_READ)
        while True:
            wait_s = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
            for key, _ in selector.select(wait_s):
                if key.fileobj is there:
                    try:
                        request, *arguments = there.recv()
                    except EOFError:
                        return
                    if request == "host":
                        namespace, *addresses = arguments
                        address, own_address = map(_packed, addresses)
                        device = device_of[address] = _open_tun(namespace)
                        if own_address != address:
                            nat_of[device] = Nat(own_address, address)
                        selector.register(device, selectors.EVENT_READ)
                    elif request == "cut":
                        far_side = frozenset(map(_packed, arguments[0]))
                    there.send(carried)
                    continue
                for sent in _packets(key.fd):
                    packet = nat_of[key.fd].outwards(sent) if key.fd in nat_of else sent
                    if packet is None:
                        continue
                    source, target = packet[12:16], packet[16:20]
                    is_cut = (source in far_side) != (target in far_side)
                    if target in device_of and not is_cut and random.random() >= loss:
                        arrives = time.monotonic() + delay_s
                        heapq.heappush(under_way, (arrives, next(order), target, packet))
            while under_way and under_way[0][0] <= time.monotonic():
                _, _, target, packet = heapq.heappop(under_way)
                device = device_of[target]
                received = nat_of[device].inwards(packet) if device in nat_of else packet
                if received is None:
                    continue
                try:
                    os.write(device, received)
                    carried += 1
                except OSError:
                    continue  # the receiver's queue is full, or the device is not up yet


def _packets(device: int) -> list[bytes]:
    """What is there to read, at most some packets at a time; IPv4 alone."""
    packets = []
    while len(packets) < 64:
        try:
            packet = os.read(device, _PACKET_BYTES)
        except OSError:
            break
        if packet[0] >> 4 == 4:
            packets.append(packet)
    return packets


def _packed(address: str) -> bytes:
    return bytes(map(int, address.split(".")))
