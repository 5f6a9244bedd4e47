"""A private swarm and an outsider who has its address: he learns nothing and changes nothing."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jaxswarm.records import Position, Reply, StageOutput
from jaxswarm.swarm import codec, keys
from jaxswarm.swarm.access import Access
from jaxswarm.swarm.codec import Heartbeat
from jaxswarm.swarm.identity import open_identity, peer_of
from jaxswarm.swarm.manifest import Manifest
from tests.swarm.attacker_process import AttackerProcess
from tests.swarm.node_process import MANIFEST, NodeProcess, until

pytestmark = pytest.mark.faults

POSITION = Position(0, 0)
MEMBERS = keys.members("test")
SECRET = Access(key=b"k" * 32)


def listed(directory: Path, *names: str) -> Access:
    """Makes the identities of these nodes ahead, and a list of them."""
    peers = set()
    for name in names:
        identity = open_identity(directory / name / "identity.key")
        peers.add(identity.peer)
        identity.close()
    return Access(allowed=frozenset(peers))


@pytest.fixture(params=["secret", "list"])
def members(
    request: pytest.FixtureRequest, node: Callable[..., NodeProcess], tmp_path: Path
) -> tuple[NodeProcess, NodeProcess]:
    access = SECRET if request.param == "secret" else listed(tmp_path, "a", "b")
    a = node("a", access=access).join()
    b = node("b", access=access, initial_peers=(a.maddr,)).join()
    for each in (a, b):
        each.call("announce", POSITION, False)
    until(lambda: a.others() and b.others())
    return a, b


def texts_read(node: NodeProcess) -> set[str]:
    return {reply.text for output in node.end().outputs for reply in output.replies}


def test_an_outsider_with_the_address_reads_nothing_and_nothing_of_his_is_used(members) -> None:
    a, b = members
    attacker = AttackerProcess(a.maddr)
    try:
        tag, peer = attacker.tag, peer_of(attacker.tag)
        manifest = Manifest(**MANIFEST).fields()
        beat = codec.encode_heartbeat(Heartbeat(POSITION, True, False, False, 1, manifest))
        reply = Reply("0123456789abcdef", "of the attacker")
        place = keys.output("test", POSITION, peer)
        payload = codec.encode_output(StageOutput(peer, POSITION, (reply,)))
        assert attacker.offer(MEMBERS, beat, tag=tag) is None, "no answer at all"
        assert attacker.offer(place, payload, tag=tag) is None
        attacker.lie(MEMBERS, 2e9)
        for each in (a, b):
            each.stage(POSITION, f"of {each.directory.name}", 30.0)
        assert texts_read(a) == {"of b"}
        assert texts_read(b) == {"of a"}
        for key in (MEMBERS, place, *(keys.output("test", POSITION, m.peer) for m in (a, b))):
            assert attacker.ask(key) is None
            assert attacker.lies_told(key) == 0
            assert attacker.holds(key) <= {tag}, "what he put there himself"
        assert set(a.others()) == {b.peer}
        assert set(b.others()) == {a.peer}
        assert set(a.call("refused")) == {"outsider"}
    finally:
        attacker.dispose()


@pytest.mark.parametrize(
    "settings", [{}, {"access": Access(key=b"other" * 7)}], ids=["open", "another secret"]
)
def test_a_node_without_the_secret_is_told_so_and_stops(
    node: Callable[..., NodeProcess], settings: dict[str, Any]
) -> None:
    a = node("a", access=SECRET).join()
    outsider = node("outsider", initial_peers=(a.maddr,), **settings)
    with pytest.raises(ValueError, match=r"initial peer /ip4.*turns us away.*same swarm.name"):
        outsider.join()


def test_a_node_of_a_private_swarm_joins_no_open_one(node: Callable[..., NodeProcess]) -> None:
    a = node("a").join()
    with pytest.raises(ValueError, match="it turns us away"):
        node("b", initial_peers=(a.maddr,), access=SECRET).join()


def test_who_is_not_on_the_list_is_told_so_and_stops(
    node: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    both, first = listed(tmp_path, "a", "b"), listed(tmp_path, "a")
    a = node("a", access=both).join()
    node("b", access=first, initial_peers=(a.maddr,)).join()
    with pytest.raises(ValueError, match="it turns us away"):
        node("c", access=first, initial_peers=(a.maddr,)).join()
    with pytest.raises(ValueError, match=r"swarm.allowed_peers here doesn't list it"):
        node("d", access=listed(tmp_path, "d"), initial_peers=(a.maddr,)).join()


def test_one_of_another_secret_is_told_so_when_its_initial_peer_is_back(
    node: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    remembers = {"contacts_path": str(tmp_path / "a" / "contacts.json")}
    a = node("a", access=SECRET, **remembers).join()
    maddr = a.maddr
    a.kill()
    other = node("other", access=Access(key=b"other" * 7), initial_peers=(maddr,)).join()
    assert other.told("none of the 1 initial peers answers")
    node("a", access=SECRET, **remembers).join()

    def is_told() -> bool:
        try:
            other.call("target", POSITION)
        except ValueError as error:
            return "it turns us away" in str(error)
        return False

    until(is_told)


def test_the_first_node_is_told_that_its_swarm_has_another_secret_by_now(
    node: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    """It was given no initial peer, and knows those that it met in its earlier life."""
    contacts = tmp_path / "a" / "contacts.json"
    remembers = {"contacts_path": str(contacts)}
    a = node("a", access=SECRET, **remembers).join()
    b = node("b", access=SECRET, initial_peers=(a.maddr,)).join()
    for each in (a, b):
        each.call("announce", POSITION, False)
    until(lambda: b.peer in contacts.read_text())
    where = b.maddr.rpartition("/p2p/")[0]
    a.kill()
    b.kill()
    node("b", access=Access(key=b"other" * 7), host_maddrs=(where,)).join()
    a = node("a", access=SECRET, **remembers).join()
    (line,) = until(lambda: a.told("it turns us away"))
    assert "known from before" in line
    assert "same swarm.name, swarm.secret_file" in line


def test_an_outsider_is_asked_nothing(node: Callable[..., NodeProcess]) -> None:
    """Of a node that is alone, and looks for somebody to ask for the time."""
    a = node("a", access=SECRET).join()
    attacker = AttackerProcess(a.maddr)
    try:
        until(lambda: a.call("refused") == {"outsider": 1})
        time.sleep(3.0)
        assert attacker.calls_taken() == {}
    finally:
        attacker.dispose()
