"""The reader of what hivemind packs, on bytes that no honest node would send."""

import math
import time

import msgpack
import pytest
from hivemind.dht.storage import DictionaryDHTValue
from hivemind.utils.serializer import MSGPackSerializer
from hivemind.utils.timed_storage import get_dht_time
from hypothesis import given
from hypothesis import strategies as st

from jaxswarm.swarm.dht_packing import Entries, Packing

pytestmark = pytest.mark.faults

PACKING = Packing(max_entries=3)
ENTRY = [b"tag", b"record", 5e9]


def dictionary(*entries: object, parts: int = 3) -> bytes:
    body = [math.inf, 5e9, list(entries)][:parts]
    return msgpack.packb(msgpack.ExtType(0x50, msgpack.packb(body)))


def test_it_reads_what_hivemind_packs() -> None:
    packed = DictionaryDHTValue()
    packed.store(b"one", b"first", get_dht_time() + 60.0)
    packed.store(b"two", b"second", get_dht_time() + 90.0)
    read = PACKING.loads(MSGPackSerializer.dumps(packed))
    assert isinstance(read, DictionaryDHTValue)
    assert dict(read.items()) == dict(packed.items())
    assert read.latest_expiration_time == packed.latest_expiration_time
    assert PACKING.loads(PACKING.dumps(b"payload")) == b"payload"


def test_it_packs_its_own_dictionaries_as_hivemind_does() -> None:
    packed = DictionaryDHTValue()
    packed.store(b"one", b"first", get_dht_time() + 60.0)
    assert PACKING.dumps(PACKING.loads(PACKING.dumps(packed))) == PACKING.dumps(packed)


def test_an_old_record_that_is_handed_on_takes_no_later_one_away() -> None:
    entries = Entries()
    assert entries.store(b"tag", b"new", get_dht_time() + 60.0)
    assert not entries.store(b"tag", b"old", get_dht_time() + 0.05)
    time.sleep(0.1)
    assert dict(entries.items())[b"tag"].value == b"new"
    assert entries.store(b"tag", b"newest", get_dht_time() + 61.0)
    assert dict(entries.items())[b"tag"].value == b"newest"


def test_it_goes_no_deeper_than_an_entry_however_deep_the_bytes_are_nested() -> None:
    for code in (0x40, 0x50):
        nested = msgpack.packb([])
        for _ in range(5000):
            nested = msgpack.packb(msgpack.ExtType(code, nested))
        for packed in (nested, dictionary([b"tag", nested, 5e9]), b"\x91" * 100_000):
            try:
                read = PACKING.loads(packed)
            except ValueError:
                continue
            assert isinstance(read, DictionaryDHTValue)
            assert dict(read.items())[b"tag"].value == nested


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\xc1",
        msgpack.packb("text"),
        msgpack.packb([]),
        msgpack.packb(msgpack.ExtType(0x41, b"")),
        msgpack.packb(msgpack.ExtType(0x50, b"\xff")),
        dictionary(ENTRY, parts=2),
        dictionary(*[ENTRY] * 4),
        dictionary(["tag", b"record", 5e9]),
        dictionary([b"tag", "record", 5e9]),
        dictionary([b"tag", b"record", math.nan]),
        dictionary([b"tag", b"record", math.inf]),
        dictionary([b"tag", b"record", "1"]),
        dictionary([b"tag", b"record"]),
        dictionary(ENTRY, 7),
    ],
)
def test_what_is_neither_payload_nor_dictionary_is_a_value_error(packed: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 whatever its words
        PACKING.loads(packed)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_a_value_error(packed: bytes) -> None:
    for each in (packed, msgpack.packb(msgpack.ExtType(0x50, packed))):
        try:
            read = PACKING.loads(each)
        except ValueError:
            continue
        assert isinstance(read, bytes | DictionaryDHTValue)
