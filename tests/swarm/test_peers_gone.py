"""Nodes are killed, the first one included, one by one and all at once. Nobody is a coordinator."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from jaxswarm.records import Position
from tests.swarm.node_process import NodeProcess, until
from tests.swarm.swarm_steps import all_but_own, announce, run_stage

Make = Callable[..., NodeProcess]

pytestmark = pytest.mark.faults

ANSWER = Position(0, 0)
STAGES_OF_TWO_ROUNDS = [Position(round_, index) for round_ in range(2) for index in range(3)]


def remembering(node: Make, directory: Path, name: str, **settings) -> NodeProcess:
    """A node that keeps what it knows of the network between its lives."""
    return node(name, contacts_path=str(directory / name / "contacts.json"), **settings)


def remembered(node: NodeProcess) -> set[str]:
    file = node.directory / "contacts.json"
    return set(json.loads(file.read_text())["peers"]) if file.exists() else set()


def know_each_other(*nodes: NodeProcess) -> None:
    """Returns once each node has noted all others."""
    announce(ANSWER, *nodes)
    peers = {each.peer for each in nodes}
    for each in nodes:
        until(lambda each=each: remembered(each) == peers - {each.peer})


@pytest.mark.parametrize("victim", [0, 1, 2], ids=["the first one", "the second", "the last"])
def test_whoever_dies_the_others_lose_no_round(node: Make, victim: int) -> None:
    a = node("a", member_ttl_s=5.0).join()
    b = node("b", member_ttl_s=5.0, initial_peers=(a.maddr,)).join()
    c = node("c", member_ttl_s=5.0, initial_peers=(a.maddr,)).join()
    nodes = [a, b, c]
    announce(ANSWER, *nodes)
    for position in STAGES_OF_TWO_ROUNDS:
        if position == Position(0, 1):
            nodes.pop(victim).kill()
        assert run_stage(position, *nodes) == all_but_own(*nodes)
        for each in nodes:
            assert each.call("target", position.next()) == position.next()


def test_a_bootstrap_peer_that_is_gone_for_good_keeps_nobody_out(node: Make) -> None:
    a = node("a", member_ttl_s=5.0).join()
    b = node("b", member_ttl_s=5.0, initial_peers=(a.maddr,)).join()
    both = (a.maddr, b.maddr)
    announce(ANSWER, a, b)
    a.kill()
    c = node("c", member_ttl_s=5.0, initial_peers=both).join()
    assert not c.told("none of the")
    announce(ANSWER, b, c)
    assert run_stage(ANSWER, b, c) == all_but_own(b, c)


def test_the_first_node_finds_its_swarm_again_though_it_was_told_of_nobody(
    node: Make, tmp_path: Path
) -> None:
    a = remembering(node, tmp_path, "a").join()
    b = remembering(node, tmp_path, "b", initial_peers=(a.maddr,)).join()
    know_each_other(a, b)
    maddr = a.maddr
    a.kill()
    run_stage(ANSWER, b, deadline_s=1.0)

    a = remembering(node, tmp_path, "a").join()
    assert a.maddr == maddr, "the port that others know"
    announce(ANSWER, a, b)
    assert run_stage(ANSWER, a, b) == all_but_own(a, b)


@pytest.mark.slow
def test_a_swarm_of_which_all_were_down_comes_together_again_on_new_ports(
    node: Make, tmp_path: Path
) -> None:
    a = remembering(node, tmp_path, "a").join()
    joins = {"initial_peers": (a.maddr,)}
    b, c = (remembering(node, tmp_path, name, **joins).join() for name in "bc")
    know_each_other(a, b, c)
    taken = a.maddr
    for each in (a, b, c):
        each.kill()

    # Somebody else has taken the first one's port meanwhile.
    other = node("other", name="another swarm", host_maddrs=(taken.rpartition("/p2p/")[0],)).join()
    b = remembering(node, tmp_path, "b", **joins).join()
    a = remembering(node, tmp_path, "a").join()
    c = remembering(node, tmp_path, "c", **joins).join()
    assert a.maddr != taken
    assert a.told("taking a new port")
    announce(ANSWER, a, b, c)
    assert run_stage(ANSWER, a, b, c) == all_but_own(a, b, c)
    other.close()


@pytest.mark.slow
def test_a_daemon_whose_port_is_taken_before_it_is_back_takes_another(
    node: Make, tmp_path: Path
) -> None:
    a = remembering(node, tmp_path, "a").join()
    b = remembering(node, tmp_path, "b", initial_peers=(a.maddr,)).join()
    know_each_other(a, b)
    maddr, daemon = a.maddr, a.daemon()
    host, port = maddr.split("/")[2], int(maddr.split("/")[4])
    daemon.kill()
    daemon.wait()
    with socket.create_server((host, port)):
        until(lambda: a.told("the p2p daemon runs again"))
    assert a.told("taking a new port")
    until(lambda: a.maddr != maddr)
    announce(Position(0, 1), a, b)
    assert run_stage(Position(0, 1), a, b) == all_but_own(a, b)


@pytest.mark.parametrize(
    ("hosts", "is_tried"),
    [
        (["no address"], False),
        (["/ip4/127.0.0.1/tcp/x"], False),
        (["/ip4/127.0.0.1/tcp/99999"], False),
        (["/ip4/192.0.2.1/tcp/4001"], True),  # an address of no machine
    ],
)
def test_a_file_of_peers_that_holds_nonsense_harms_nobody(
    node: Make, tmp_path: Path, hosts: list[str], is_tried: bool
) -> None:
    a = node("a").join()
    nonsense = {
        "swarm": "test",
        "asked": ["/ip4/127.0.0.1/tcp/0"],
        "hosts": hosts,
        "peers": {"Qm": "no address", "Qn": "/ip4/127.0.0.1/tcp/1/p2p/Qn"},
    }
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "contacts.json").write_text(json.dumps(nonsense))
    b = remembering(node, tmp_path, "b", initial_peers=(a.maddr,)).join()
    assert bool(b.told("taking a new port")) == is_tried
    announce(ANSWER, a, b)
    (tmp_path / "c").mkdir()
    torn = tmp_path / "c" / "contacts.json"
    torn.write_bytes(b"\x00\xff{torn")
    c = remembering(node, tmp_path, "c", initial_peers=(a.maddr,)).join()
    announce(ANSWER, a, b, c)
    until(lambda: torn.read_bytes().startswith(b"{"))
    assert json.loads(torn.read_text())["swarm"] == "test", "it has taken its place"
