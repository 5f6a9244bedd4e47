"""What hivemind packs, unpacked without trust: bytes of peers that no gate has seen yet."""

import math
from typing import Any

import msgpack
from hivemind.dht.storage import DictionaryDHTValue
from hivemind.utils.serializer import MSGPackSerializer
from hivemind.utils.timed_storage import TimedStorage

_DICTIONARY = 0x50
"""hivemind's code for its extension of msgpack."""


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
        return MSGPackSerializer.dumps(value)

    def loads(self, packed: bytes) -> bytes | TimedStorage[bytes, bytes]:
        """The byte string or dictionary. Raises ValueError for anything else, whatever it is."""
        match _unpack(packed):
            case bytes(payload):
                return payload
            case msgpack.ExtType(code=code, data=data) if code == _DICTIONARY:
                return self._dictionary(_unpack(data))
        raise ValueError("neither a byte string nor a dictionary")

    def _dictionary(self, parts: object) -> TimedStorage[bytes, bytes]:
        match parts:
            case [_, _, [*entries]] if len(entries) <= self._max_entries:
                pass
            case _:
                raise ValueError("no dictionary, or too large a one")
        dictionary = DictionaryDHTValue()
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
