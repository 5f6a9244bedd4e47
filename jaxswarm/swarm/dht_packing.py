"""What hivemind packs, unpacked without trust: bytes of peers that no gate has seen yet."""

import math
from typing import Any

import msgpack
from hivemind.dht.storage import DictionaryDHTValue
from hivemind.dht.validation import DHTRecord, RecordValidatorBase
from hivemind.utils.serializer import MSGPackSerializer
from hivemind.utils.timed_storage import ValueWithExpiration

_DICTIONARY = 0x50
"""hivemind's code for its extension of msgpack."""


class Entries(DictionaryDHTValue):
    """hivemind's dictionary, in which an entry gives way to later ones alone.

    By itself it keeps the later of two records, and drops it when the earlier one expires: who
    hands on an old heartbeat would hide the new one.
    """

    def store(self, key: bytes, value: bytes, expiration_time: float) -> bool:
        known = self.data.get(key)
        if known and known.expiration_time >= expiration_time:
            return False
        return super().store(key, value, expiration_time)


class Packing:
    """hivemind's packing in place of its own reader, which goes as deep as the bytes say.

    What travels is a byte string, or a dictionary: an extension of msgpack around a list of
    [owner tag, value, expiration]. Neither holds anything that would have to be unpacked further.
    """

    def __init__(self, max_entries: int):
        """`max_entries`: of a dictionary."""
        self._max_entries = max_entries

    @staticmethod
    def dumps(value: object) -> bytes:
        if isinstance(value, Entries):  # hivemind packs no class but its own
            value = msgpack.ExtType(_DICTIONARY, value.packb())
        return MSGPackSerializer.dumps(value)

    def loads(self, packed: bytes) -> bytes | Entries:
        """The byte string or dictionary. Raises ValueError for anything else, whatever it is."""
        match _unpack(packed):
            case bytes(payload):
                return payload
            case msgpack.ExtType(code=code, data=data) if code == _DICTIONARY:
                return self._dictionary(_unpack(data))
        raise ValueError("neither a byte string nor a dictionary")

    def payloads(
        self, entries: Entries, record_id: bytes, validator: RecordValidatorBase
    ) -> dict[bytes, ValueWithExpiration[bytes]]:
        """By owner tag what was signed, as hivemind tells it at the end of a search."""
        told = {}
        for tag, (value, expiration) in entries.items():
            record = DHTRecord(record_id, self.dumps(tag), value, expiration)
            payload = self.loads(validator.strip_value(record))
            assert isinstance(payload, bytes), "the gate lets in nothing else"
            told[tag] = ValueWithExpiration(payload, expiration)
        return told

    def _dictionary(self, parts: object) -> Entries:
        match parts:
            case [_, _, [*entries]] if len(entries) <= self._max_entries:
                pass
            case _:
                raise ValueError("no dictionary, or too large a one")
        dictionary = Entries()
        with dictionary.freeze():  # what has expired is told apart when it is read
            for entry in entries:
                match entry:
                    case [bytes(tag), bytes(record), float(until)] if math.isfinite(until):
                        dictionary.store(tag, record, until)
                    case _:
                        raise ValueError("no entry of a dictionary")
        return dictionary


def _unpack(packed: bytes) -> Any:
    try:
        return msgpack.unpackb(packed)
    except TypeError as error:  # with ValueError all that msgpack raises on foreign bytes
        raise ValueError(str(error)) from error
