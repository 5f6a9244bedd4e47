"""What a peer without manners offers is refused, counted by reason, and does no harm."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack
import pytest
from attacker_process import AttackerProcess
from node_process import MANIFEST, NodeProcess, output, until

from jaxswarm.records import Position, Reply, StageOutput
from jaxswarm.swarm import codec, keys
from jaxswarm.swarm.codec import Heartbeat
from jaxswarm.swarm.identity import open_identity, peer_of
from jaxswarm.swarm.manifest import Manifest

POSITION = Position(0, 0)
MEMBERS = keys.members("test")


@pytest.fixture
def victims(node: Callable[..., NodeProcess]) -> tuple[NodeProcess, NodeProcess]:
    a = node("a").join()
    b = node("b", initial_peers=(a.maddr,)).join()
    for each in (a, b):
        each.call("announce", POSITION, False)
    until(lambda: a.others() and b.others())
    return a, b


@pytest.fixture
def attacker(victims) -> Iterator[AttackerProcess]:
    process = AttackerProcess(victims[0].maddr)
    yield process
    process.dispose()


def heartbeat(**changes: object) -> bytes:
    manifest = Manifest(**{**MANIFEST, **changes}).fields()
    return codec.encode_heartbeat(Heartbeat(POSITION, True, False, False, 1, manifest))


def output_of(peer: str, position: Position = POSITION) -> bytes:
    reply = Reply("0123456789abcdef", "of the attacker")
    return codec.encode_output(StageOutput(peer, position, (reply,)))


def tag_of(node: NodeProcess) -> bytes:
    """Read from a copy: the node holds its own file."""
    copy = shutil.copy(node.directory / "identity.key", node.directory / "copy.key")
    identity = open_identity(Path(copy))
    identity.close()
    return identity.tag


def read_by_both(a: NodeProcess, b: NodeProcess, deadline_s: float = 60.0) -> list[set[str]]:
    for each in (a, b):
        each.stage(POSITION, each.directory.name, deadline_s)
    return [{r.text for o in each.end().outputs for r in o.replies} for each in (a, b)]


def test_bad_records_are_refused_by_reason_and_the_swarm_goes_on(victims, attacker) -> None:
    a, b = victims
    peer = peer_of(attacker.tag)
    place, victims_place = (keys.output("test", POSITION, p) for p in (peer, b.peer))
    own, stolen = {"tag": attacker.tag}, {"tag": tag_of(b)}
    offers = [
        ("unsigned", MEMBERS, heartbeat(), {"tag": None, "signed": False}),
        ("unsigned", MEMBERS, heartbeat(), {"tag": b"anybody"}),
        ("forged", victims_place, output_of(b.peer), stolen),
        ("forged", place, output_of(peer), {**own, "signed": False}),
        ("oversized", place, b"\0" * 600_000, own),
        ("malformed", place, b"\xc1 no msgpack", own),
        ("malformed", place, {"no": "bytes"}, own),
        ("future_version", place, msgpack.packb([codec.VERSION + 1, "output"]), own),
        ("misplaced", place, output_of(peer, Position(1, 0)), own),
        ("misplaced", victims_place, output_of(peer), own),
        ("misplaced", MEMBERS, output_of(peer), own),
        ("expiry", place, output_of(peer), {**own, "ttl_s": 1e6}),
    ]
    expected: Counter[str] = Counter()
    for reason, key, payload, how in offers:
        assert not attacker.offer(key, payload, **how), (reason, key)
        expected[reason] += 1
        assert a.call("refused") == expected
    assert read_by_both(a, b) == [{"b"}, {"a"}]


def test_a_member_with_a_bad_output_is_missed_at_the_deadline_and_counted(
    victims, attacker
) -> None:
    a, b = victims
    peer = peer_of(attacker.tag)
    assert attacker.offer(MEMBERS, heartbeat(), tag=attacker.tag, ttl_s=60.0)
    until(lambda: peer in a.others())
    place = keys.output("test", POSITION, peer)
    attacker.offer(place, b"\xc1", tag=attacker.tag, to_victim=False)
    a.stage(POSITION, "a", 2.0)
    b.call("publish", output(b.peer, POSITION, "b"))
    b.call("announce", POSITION, True)
    gathered = a.end()
    assert [each.peer for each in gathered.outputs] == [b.peer]
    assert gathered.missing == (peer,)
    assert gathered.refused == {"malformed": 1}


def test_a_member_of_another_manifest_is_none_and_stops_nobody(victims, attacker) -> None:
    a, b = victims
    assert attacker.offer(MEMBERS, heartbeat(data="d2"), tag=attacker.tag)
    for each in (a, b):
        until(lambda each=each: each.call("refused") == {"other_manifest": 1})
        assert peer_of(attacker.tag) not in each.others()
    assert read_by_both(a, b) == [{"b"}, {"a"}]


def test_an_honest_record_of_a_stranger_is_read(victims, attacker) -> None:
    """So that the tests above refuse for the reason they say."""
    a, _ = victims
    peer = peer_of(attacker.tag)
    place = keys.output("test", POSITION, peer)
    assert attacker.offer(place, output_of(peer), tag=attacker.tag)
    assert attacker.offer(MEMBERS, heartbeat(), tag=attacker.tag)
    until(lambda: peer in a.others())
    (read,) = a.call("gather", POSITION, 2.0).outputs
    assert read.replies[0].text == "of the attacker"
