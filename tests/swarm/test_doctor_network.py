"""What the doctor says of the network, with real peers that are dead, private or late."""

import dataclasses
import socket
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from jaxswarm.doctor.findings import Finding, Level, run
from jaxswarm.doctor.network import network, reachability
from jaxswarm.swarm.access import Access
from jaxswarm.swarm.config import DhtConfig
from tests.swarm.attacker_process import AttackerProcess
from tests.swarm.node_process import QUICK, NodeProcess, until

pytestmark = pytest.mark.faults


@pytest.fixture
def config(tmp_path: Path) -> DhtConfig:
    return DhtConfig("test", str(tmp_path / "identity.key"), **QUICK)


def looked_at(config: DhtConfig, **changes: object) -> dict[str, Finding]:
    changed = dataclasses.replace(config, **changes)
    return {finding.what: finding for finding in run("swarm", lambda: network(changed), 60.0)}


def test_a_live_peer_answers_with_the_right_time_and_calls_back(
    config: DhtConfig, node: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    a = node("a").join()
    began = time.monotonic()
    found = looked_at(config, initial_peers=(a.maddr,))
    assert time.monotonic() - began < 15.0
    assert found["peers"].level == found["clock"].level == Level.OK
    assert found["reachability"].found.startswith("this machine alone"), "not: can't call this node"
    assert not (tmp_path / "identity.key").exists(), "the doctor makes no identity"


def test_a_peer_whose_clock_is_off_is_named_with_its_skew(config: DhtConfig) -> None:
    late = AttackerProcess("", clock_ahead_s=-100.0)
    try:
        clock = looked_at(config, initial_peers=(late.maddr,))["clock"]
    finally:
        late.dispose()
    assert clock.level == Level.FAILURE
    assert "100.0 s behind" in clock.found or "99.9 s behind" in clock.found


def test_a_dead_peer_is_a_failure(config: DhtConfig) -> None:
    gone = AttackerProcess("")
    gone.dispose()
    peers = looked_at(config, initial_peers=(gone.maddr,))["peers"]
    assert peers.level == Level.FAILURE
    assert f"{gone.maddr} doesn't answer" in peers.found


def test_a_private_swarm_that_turns_us_away_is_a_failure(
    config: DhtConfig, node: Callable[..., NodeProcess]
) -> None:
    a = node("a", access=Access(key=b"k" * 32)).join()
    peers = looked_at(config, initial_peers=(a.maddr,))["peers"]
    assert peers.level == Level.FAILURE
    assert "turns us away" in peers.found


def test_a_port_in_use_is_a_failure(config: DhtConfig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = f"/ip4/127.0.0.1/tcp/{server.getsockname()[1]}"
        found = looked_at(config, host_maddrs=(taken,))["swarm"]
    assert found.level == Level.FAILURE
    assert f"{taken} (Address already in use)" in found.found


def test_a_daemon_that_does_not_start_in_time_is_a_failure_and_none_is_left(
    config: DhtConfig,
) -> None:
    daemon = looked_at(config, startup_timeout_s=0.01)["p2p daemon"]
    assert daemon.level == Level.FAILURE
    assert daemon.found.startswith("Daemon failed to start in")
    until(lambda: not any("p2pd" in child.name() for child in psutil.Process().children()), 30.0)


def test_a_peer_that_can_t_call_back_is_a_warning(config: DhtConfig) -> None:
    peer = AttackerProcess("")
    peer.call_nobody_back()
    try:
        found = list(network(dataclasses.replace(config, initial_peers=(peer.maddr,))))
    finally:
        peer.dispose()
    (finding,) = (f for f in found if "can't call this node" in f.found)
    assert (finding.what, finding.level) == ("reachability", Level.WARNING)
    assert "swarm.use_auto_relay" in finding.remedy


def test_an_address_that_is_none_is_a_failure(config: DhtConfig) -> None:
    found = looked_at(config, initial_peers=("example.org:4000",))["swarm"]
    assert found.level == Level.FAILURE
    assert "example.org:4000" in found.found


def test_the_network_of_a_live_node_is_left_alone(
    config: DhtConfig, node: Callable[..., NodeProcess]
) -> None:
    a = node("a").join()
    found = looked_at(config, identity_path=str(a.directory / "identity.key"))
    assert found["network"].level == Level.WARNING
    assert "the node runs" in found["network"].found


@pytest.mark.parametrize(
    ("maddrs", "level"),
    [
        (["/ip4/127.0.0.1/tcp/1/p2p/Qm", "/ip4/192.168.1.2/tcp/1", "/ip6/::1/tcp/1"], "warning"),
        ([], "warning"),
        (["/ip4/10.0.0.1/tcp/1", "/ip4/8.8.8.8/tcp/1/p2p/Qm"], "ok"),
        (["/dns4/example.org/tcp/1"], "ok"),
        (["/ip4/10.0.0.1/tcp/1/p2p/Qm/p2p-circuit/p2p/Qm"], "ok"),
    ],
)
def test_an_address_that_leads_here_from_outside(
    config: DhtConfig, maddrs: list[str], level: str
) -> None:
    reachable = dataclasses.replace(config, host_maddrs=("/ip4/0.0.0.0/tcp/0",))
    assert reachability(maddrs, reachable).level == level


@pytest.mark.parametrize(
    ("host_maddrs", "announce_maddrs", "level"),
    [
        (("/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0"), (), "ok"),
        (("/ip4/127.0.0.1/tcp/0", "/ip4/0.0.0.0/tcp/0"), (), "warning"),
        (("/ip4/127.0.0.1/tcp/0",), ("/ip4/192.168.1.2/tcp/1",), "warning"),
    ],
)
def test_who_listens_on_this_machine_alone_is_not_meant_to_be_reached(
    config: DhtConfig, host_maddrs: tuple[str, ...], announce_maddrs: tuple[str, ...], level: str
) -> None:
    told = dataclasses.replace(config, host_maddrs=host_maddrs, announce_maddrs=announce_maddrs)
    assert reachability(["/ip4/127.0.0.1/tcp/4001/p2p/Qm"], told).level == level
