import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from jaxswarm.errors import InputError
from jaxswarm.swarm import ports


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as server:
        yield server


def address(listener: socket.socket) -> str:
    return f"/ip4/127.0.0.1/tcp/{listener.getsockname()[1]}"


def test_a_port_on_which_somebody_listens_is_named(listener: socket.socket) -> None:
    with pytest.raises(InputError, match=rf"host_maddrs: got '{address(listener)} \(Address"):
        asyncio.run(ports.wait_until_free([address(listener)], wait_s=0.0))


def test_an_address_of_another_machine_is_named_at_once() -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match="addresses of this machine"):
        asyncio.run(ports.wait_until_free(["/ip4/203.0.113.7/tcp/4001"], wait_s=60.0))
    assert time.monotonic() - start < 5.0


def test_a_port_that_is_given_free_in_time_will_do(listener: socket.socket) -> None:
    with pytest.raises(InputError):
        asyncio.run(ports.wait_until_free([address(listener)], wait_s=0.0))
    wanted = address(listener)
    threading.Timer(0.3, listener.close).start()
    asyncio.run(ports.wait_until_free([wanted], wait_s=60.0))
    assert listener.fileno() == -1, "not before it was free"


def test_addresses_without_a_fixed_tcp_port_need_no_check(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    free = ["/ip4/0.0.0.0/tcp/0", f"/ip4/127.0.0.1/udp/{port}/quic-v1", "/dns4/host/tcp/1"]
    asyncio.run(ports.wait_until_free(free, wait_s=0.0))


def test_a_restarted_daemon_is_told_the_ports_it_had() -> None:
    hosts = ["/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0", "/ip4/127.0.0.1/tcp/77", "/ip4/1.2.3.4/udp/0/q"]
    visible = ["/ip4/127.0.0.1/tcp/4001/p2p/Qm", "/ip4/10.0.0.2/tcp/4001", "/ip6/::1/tcp/4002"]
    assert ports.taken(hosts, visible) == (
        "/ip4/0.0.0.0/tcp/4001",
        "/ip6/::/tcp/4002",
        "/ip4/127.0.0.1/tcp/77",
        "/ip4/1.2.3.4/udp/0/q",
    )
