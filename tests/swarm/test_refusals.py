"""What a peer without manners offers is refused, counted by reason, and does no harm."""

import math
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import psutil
import pytest
from hivemind.proto.dht_pb2 import FindRequest, StoreRequest

from jaxswarm.records import Position, Reply, StageOutput
from jaxswarm.swarm import codec, keys
from jaxswarm.swarm.codec import Heartbeat
from jaxswarm.swarm.config import Limits
from jaxswarm.swarm.identity import open_identity, peer_of
from jaxswarm.swarm.manifest import Manifest
from tests.swarm.attacker_process import AttackerProcess
from tests.swarm.node_process import MANIFEST, NodeProcess, output, until

pytestmark = pytest.mark.faults

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


def text_of(peer: str, text: str) -> bytes:
    return codec.encode_output(StageOutput(peer, POSITION, (Reply("0123456789abcdef", text),)))


def not_finite(peer: str) -> bytes:
    return output_of(peer).replace(msgpack.packb(0), msgpack.packb(math.nan), 1)


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
        ("forged", place, output_of(peer), {**own, "signature": b"A"}),
        ("oversized", place, b"\0" * 600_000, own),
        ("malformed", place, b"\xc1 no msgpack", own),
        ("malformed", place, {"no": "bytes"}, own),
        ("future_version", place, msgpack.packb([codec.VERSION + 1, "output"]), own),
        ("misplaced", place, output_of(peer, Position(1, 0)), own),
        ("misplaced", victims_place, output_of(peer), own),
        ("misplaced", MEMBERS, output_of(peer), own),
        ("expiry", place, output_of(peer), {**own, "ttl_s": 1e6}),
        ("expiry", place, output_of(peer), {**own, "ttl_s": math.inf}),
        ("expiry", place, output_of(peer), {**own, "ttl_s": math.nan}),
        ("expiry", MEMBERS, heartbeat(), {**own, "ttl_s": 3600.0}),
        ("malformed", place, text_of(peer, "bell \x07"), own),
        ("malformed", place, not_finite(peer), own),
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


@pytest.mark.slow
def test_ten_thousand_records_of_one_peer_are_bounded_and_counted(victims, attacker) -> None:
    a, b = victims
    peer = peer_of(attacker.tag)
    positions = [Position(index // 3, index % 3) for index in range(10_000)]
    payload = {position: output_of(peer, position) for position in positions}
    places = [keys.output("test", position, peer) for position in positions]
    before = psutil.Process(a.pid).memory_info().rss
    began, limits = time.monotonic(), Limits()
    taken = attacker.flood(places, list(payload.values()))
    spells = 1 + (time.monotonic() - began) / limits.place_s
    refused = a.call("refused")
    assert taken + refused["too_many"] == 10_000
    assert set(refused) == {"too_many"}
    grown = psutil.Process(a.pid).memory_info().rss - before
    assert grown < 32 << 20, f"{grown / 2**20:.0f} MiB for 10,000 records"
    assert limits.max_kept <= taken <= limits.max_kept * spells
    assert read_by_both(a, b) == [{"b"}, {"a"}]


@pytest.mark.usefixtures("victims")
def test_nothing_is_put_into_the_cache_of_a_node(attacker) -> None:
    place = keys.output("test", POSITION, peer_of(attacker.tag))
    payload = output_of(peer_of(attacker.tag))
    assert not attacker.offer(place, payload, tag=attacker.tag, in_cache=True)
    assert attacker.ask(place) == {}
    assert attacker.offer(place, payload, tag=attacker.tag)
    assert attacker.tag in attacker.ask(place)


@pytest.mark.parametrize("rpc", ["rpc_ping", "rpc_store", "rpc_find"])
def test_calls_of_any_bytes_are_survived(victims, attacker, rpc: str) -> None:
    a, b = victims
    many_keys = (b"\x12" if rpc == "rpc_find" else b"\x0a") + b"\x14" + b"k" * 20
    for request in (b"", b"\xff", b"\x0a\x02\x0a\xff", many_keys, many_keys * 1000, b"\0" * 1000):
        assert attacker.call_with(rpc, request)
    assert read_by_both(a, b) == [{"b"}, {"a"}]


@pytest.mark.parametrize(
    ("rpc", "request_", "complaint"),
    [
        ("rpc_find", FindRequest(keys=[b"k" * 20] * 2), "too many keys"),
        ("rpc_store", StoreRequest(keys=[b"k" * 20] * 257), "too many keys"),
        ("rpc_store", StoreRequest(values=[bytes(2 << 20)]), "too large a call"),
    ],
)
def test_a_call_that_would_keep_a_node_busy_is_refused(
    victims, attacker, rpc: str, request_: Any, complaint: str
) -> None:
    a, b = victims
    assert complaint in attacker.call_with(rpc, request_.SerializeToString())
    assert read_by_both(a, b) == [{"b"}, {"a"}]


def test_who_says_no_to_a_record_keeps_it_from_nobody(victims, attacker) -> None:
    """And says so later than all others, whose yes it would undo."""
    a, b = victims
    until(lambda: attacker.holds(MEMBERS))
    attacker.refuse_to_keep(after_s=1.0)
    assert read_by_both(a, b) == [{"b"}, {"a"}]
    for each in (a, b):
        assert not each.told("not out yet")
    assert attacker.refused() > 0


def test_a_peer_that_lets_a_search_wait_hides_nothing(node, victims, attacker) -> None:
    """From one that looks when it is asked to, and not by itself."""
    _, b = victims
    until(lambda: attacker.holds(MEMBERS))
    asker = node("asker", initial_peers=(b.maddr,), heartbeat_s=60.0).join()
    attacker.answer_late("rpc_find", after_s=2.0)  # later it would count as gone

    def heard_at() -> float:
        return {member.peer: member.heard_at for member in asker.call("look", 1.0)}[b.peer]

    for _ in range(3):  # the first one may come of the look with which it joined
        before = heard_at()
        until(lambda before=before: heard_at() > before, 15.0)


def test_bytes_nested_deeper_than_any_stack_are_survived(victims, attacker) -> None:
    a, b = victims
    nested: bytes = msgpack.packb([])
    for _ in range(300):
        nested = msgpack.packb(msgpack.ExtType(0x40, nested))
    request = StoreRequest(
        keys=[b"k" * 20],
        subkeys=[b""],  # hivemind's mark of a dictionary
        values=[nested],
        expiration_time=[time.time() + 60.0],
        in_cache=[False],
    )
    assert "ValueError" in attacker.call_with("rpc_store", request.SerializeToString())
    assert read_by_both(a, b) == [{"b"}, {"a"}]


def test_one_bad_entry_of_a_dictionary_hides_no_other(victims, attacker) -> None:
    """As a holder with a clock of its own, or an ill will, hands it on."""
    a, _ = victims
    place = keys.output("test", POSITION, peer_of(attacker.tag))
    good = output_of(peer_of(attacker.tag))
    assert attacker.offer_together(place, {attacker.tag: good, tag_of(a): good})
    assert attacker.ask(place).keys() == {attacker.tag}
    assert a.call("refused") == {"forged": 1}


def test_an_odd_answer_to_a_call_is_no_answer(node, victims, attacker) -> None:
    attacker.say_it_stands_at(b"x" * 21)
    joined = node("c", initial_peers=(attacker.maddr,)).join()
    joined.call("announce", POSITION, False)
    assert joined.others().keys() <= {victim.peer for victim in victims}, "and it goes on"


def test_a_peer_that_says_nothing_is_there_for_ever_hides_nothing(node, victims, attacker) -> None:
    """Told to one that keeps no records itself and so must ask, while the honest one is slow."""
    a, b = victims
    b.close()
    asker = node("asker", initial_peers=(a.maddr,), client_mode=True).join()
    until(lambda: attacker.holds(MEMBERS))
    a.call("publish", output(a.peer, POSITION, "a"))
    place = keys.output("test", POSITION, a.peer)
    attacker.lie(place, math.inf)
    honest = psutil.Process(a.pid)
    peer = a.peer
    honest.suspend()
    try:
        asker.begin("read", POSITION, [peer], 60.0)
        until(lambda: attacker.lies_told(place))
    finally:
        honest.resume()
    assert asker.end()[peer].replies[0].text == "a"


@pytest.mark.parametrize("at", [None, MEMBERS], ids=["its own place", "a place of its choice"])
def test_a_peer_keeps_records_for_others_only_in_its_own_place(victims, at: str | None) -> None:
    a, _ = victims
    attacker = AttackerProcess(a.maddr, at)
    try:
        if at is None:
            until(lambda: attacker.holds(MEMBERS))
            return
        (first,) = (member.heard_at for member in a.call("look", 10.0))
        for beats in range(1, 7):
            until(lambda beats=beats: a.call("look", 10.0)[0].heard_at >= first + 0.5 * beats)
        assert not attacker.holds(MEMBERS)
    finally:
        attacker.dispose()
