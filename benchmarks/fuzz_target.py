"""What benchmarks.fuzz feeds: every reader of a peer's bytes, sound inputs, and changes of them."""

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgpack
from cryptography.hazmat.primitives.asymmetric import rsa
from hivemind.dht.validation import DHTRecord

from jaxswarm.records import NONE_RIGHT, Position, Reply, StageOutput
from jaxswarm.swarm import codec, keys
from jaxswarm.swarm.codec import Heartbeat, RefusedError
from jaxswarm.swarm.config import Limits
from jaxswarm.swarm.dht_guard import Gatekeeper
from jaxswarm.swarm.dht_packing import Packing
from jaxswarm.swarm.gate import Gate
from jaxswarm.swarm.identity import owner_tag, peer_of_packed

LIMITS = Limits(max_record_bytes=4096, max_text_chars=200, max_replies=8)
POSITION = Position(3, 1)


class Target:
    """Feeds bytes to each reader and counts what comes out; anything but a refusal is a crash."""

    def __init__(self) -> None:
        self.inputs = 0
        self.outcomes: Counter[str] = Counter()
        self._gate = Gate("fuzz", LIMITS)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._gatekeeper = Gatekeeper(key, self._gate)
        self._packing = Packing(LIMITS.max_members)
        self._tag = _packed(owner_tag(key.public_key()))
        self._place = keys.record_id(keys.members("fuzz"))

    def __call__(self, data: bytes) -> None:
        """The first byte chooses the reader."""
        self.inputs += 1
        if not data:
            return
        readers = (
            self._decode,
            self._decode,
            self._admit,
            self._tag_of,
            self._validate,
            self._unpack,
        )
        reader = readers[data[0] % len(readers)]
        try:
            outcome = reader(data[1:])
        except RefusedError as error:
            outcome = error.reason.value
        self.outcomes[f"{reader.__name__.removeprefix('_')}: {outcome}"] += 1

    def _decode(self, data: bytes) -> str:
        record = codec.decode(data, "peer", LIMITS)
        if isinstance(record, Heartbeat):
            packed = codec.encode_heartbeat(record)
        else:
            packed = codec.encode_output(record)
            assert codec.fitting(record, LIMITS) == record, "accepted what it would not publish"
        assert codec.decode(packed, "peer", LIMITS) == record, "it doesn't come back as it was"
        return "accepted"

    def _admit(self, data: bytes) -> str:
        value = _packed(data)
        self._gate.admit(self._place, "peer", value if len(data) % 2 else data, time.time() + 9.0)
        return "accepted"

    def _tag_of(self, data: bytes) -> str:
        try:
            peer_of_packed(data)
        except ValueError:
            return "no tag"
        return "accepted"

    def _validate(self, data: bytes) -> str:
        tag, value = (self._tag, data) if len(data) % 2 else (data, self._tag)
        record = DHTRecord(self._place, tag, value, time.time() + 9.0)
        return "accepted" if self._gatekeeper.validate(record) else "refused"

    def _unpack(self, data: bytes) -> str:
        try:
            found = self._packing.loads(data)
        except ValueError:
            return "neither payload nor dictionary"
        return "payload" if isinstance(found, bytes) else "dictionary"


def seeds() -> list[bytes]:
    """Sound inputs for every reader, from which the fuzzer sets out."""
    replies = tuple(
        Reply(f"{number:016x}", text, vote)
        for number, (text, vote) in enumerate(
            [("<answer>7</answer>", ""), ("two\nlines\t\U0001f600", NONE_RIGHT), ("", "0" * 16)]
        )
    )
    manifest = (("data", "d1"), ("protocol", 1), ("questions_per_round", 4))
    records = [
        codec.encode_output(StageOutput("peer", POSITION, replies)),
        codec.encode_output(StageOutput("peer", POSITION, ())),
        codec.encode_heartbeat(Heartbeat(POSITION, True, False, False, 17, manifest)),
    ]
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    tag: Any = msgpack.packb(owner_tag(key.public_key()))
    entries = [[owner_tag(key.public_key()), record, 5e9] for record in records]
    dictionary = msgpack.ExtType(0x50, _packed([float("inf"), 5e9, entries]))
    signed = [record + b"[signature:" + b"QUJD" * 86 + b"]" for record in records]
    return [bytes([0]) + record for record in records] + [
        bytes([2]) + records[2],
        bytes([3]) + tag,
        bytes([4]) + tag,
        bytes([5]) + _packed(dictionary),
        bytes([5]) + _packed(records[0]),
        *(bytes([4]) + record for record in signed),
    ]


def mutate(data: bytes, draw: random.Random) -> bytes:
    """One part of the record changed, if it is one; else one byte."""
    try:
        tree = msgpack.unpackb(data[1:])
    except Exception:  # noqa: BLE001 whatever it is, it is no record
        tree = None
    if not isinstance(tree, list) or not tree:
        changed = bytearray(data or b"\0")
        changed[draw.randrange(len(changed))] = draw.randrange(256)
        return bytes(changed)
    node = tree
    while True:
        index = draw.randrange(len(node))
        if not isinstance(node[index], list) or not node[index] or draw.random() < 0.2:
            break
        node = node[index]
    odd: list[Callable[[], Any]] = [
        lambda: draw.choice([None, True, -1, 0, 2**40, 2**63, float("nan"), float("inf"), -0.0]),
        lambda: draw.choice(
            ["", "none", "0" * 16, "0" * 15, "a\0b", "\r", "\x9f", "é" * 300, "<|"]
        ),
        lambda: draw.choice([b"", b"\xff", [], [[]], {}, {"a": 1}, msgpack.ExtType(5, b"x")]),
        lambda: draw.choice(tree),
        lambda: [node[index]] * draw.choice([0, 2, 9, 20]),
    ]
    action = draw.randrange(8)
    if action < len(odd):
        node[index] = odd[action]()
    elif action == 5:
        del node[index]
    elif action == 6:
        node.insert(index, node[index])
    else:
        draw.shuffle(node)
    try:
        return data[:1] + _packed(tree)
    except (ValueError, TypeError, OverflowError, UnicodeEncodeError):
        return data


def _packed(tree: Any) -> bytes:
    packed = msgpack.packb(tree)
    assert isinstance(packed, bytes)
    return packed
