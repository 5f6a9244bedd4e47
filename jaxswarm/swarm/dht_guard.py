"""What hivemind's node is given instead of parts of its own, since those trust every peer.

By themselves they accept any record that claims no owner; keep whatever is stored, without bound;
let a peer stand wherever in the key space it likes, so also on top of one key; end a search at
whoever says that its answer is good for ever; unpack foreign bytes as deep as they are nested, down
to the end of the process's stack; and refuse all that lies under a key for one bad record there.
"""

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from hivemind.dht.crypto import RSASignatureValidator
from hivemind.dht.node import DHTNode
from hivemind.dht.routing import DHTID, RoutingTable
from hivemind.dht.storage import DHTLocalStorage, DictionaryDHTValue
from hivemind.dht.validation import DHTRecord
from hivemind.p2p import P2P, P2PContext, PeerID
from hivemind.p2p.p2p_daemon_bindings.utils import P2PHandlerError
from hivemind.proto.dht_pb2 import FindRequest  # pyright: ignore[reportAttributeAccessIssue]
from hivemind.utils.crypto import RSAPrivateKey
from hivemind.utils.timed_storage import ValueWithExpiration, get_dht_time

from jaxswarm.swarm import calls
from jaxswarm.swarm.dht_packing import Entries, Packing
from jaxswarm.swarm.gate import Gate
from jaxswarm.swarm.identity import peer_of_packed
from jaxswarm.swarm.refusal import Reason, RefusedError
from jaxswarm.swarm.searches import Searches
from jaxswarm.swarm.shelf import Shelf

SIGNATURE_BYTES = 1024
"""Room for the signature of the largest accepted key, and its frame."""
HANDED_ON_BYTES = 1 << 20
"""Of the records that hivemind sends to a new neighbour, all in one message."""
MAX_CALL_BYTES = HANDED_ON_BYTES + (64 << 10)
"""Of one call: each entry of a larger one would be checked before the next call is heard."""
MAX_KEYS = 256
"""Of the records in one call to keep them."""
MAX_KEYS_ASKED = 1
"""Of one search: nodes ask for no more, and what lies under several may not fit an answer."""
MAX_TURNED_AWAY = 256
NO_MEMBER = "you are no member of this swarm"


def place_of(peer: PeerID) -> DHTID:
    """A peer's place in the key space, which it can't choose; after a restart the same."""
    return DHTID.generate(peer.to_base58())


def put_on_guard(node: DHTNode, gate: Gate, searches: Searches, previous: DHTNode | None) -> None:
    """Bounds what a new node keeps and unpacks, and has it believe nobody's word for its place.

    Args:
      searches: is told what is found.
      previous: the node which this one replaces; what it kept for others lives on.
    """
    protocol: Any = node.protocol
    protocol.storage = previous.protocol.storage if previous else _Storage(gate)
    protocol.cache = _NoCache()
    protocol.serializer = Packing(gate.limits.max_members)
    node.blacklist.ban_counter = _NoCount()
    update, find = protocol.update_routing_table, protocol.call_find
    store = protocol.call_store

    async def update_routing_table(
        node_id: DHTID | None, peer_id: PeerID, responded: bool = True
    ) -> None:
        if node_id is not None and node_id != place_of(peer_id):
            return
        if node_id is not None and responded:
            _make_room(protocol.routing_table, node_id)
        await update(node_id, peer_id, responded)

    def keep_what_is_valid(key: bytes, dictionary: DictionaryDHTValue) -> bool:
        with dictionary.freeze():
            for subkey, (value, expiration) in list(dictionary.items()):
                record = DHTRecord(key, protocol.serializer.dumps(subkey), value, expiration)
                if not protocol.record_validator.validate(record):
                    del dictionary[subkey]
        return len(dictionary.data) > 0

    async def call_find(peer: PeerID, keys: Collection[DHTID]) -> Any:
        found = await find(peer, keys)
        if found is None:
            return None
        limit = protocol.bucket_size
        answer = {
            key: (_without_promises(item), _in_their_places(nearest, limit))
            for key, (item, nearest) in found.items()
        }
        for key, (item, _) in answer.items():
            if item:
                searches.found(key.to_bytes(), item.value)
        return answer

    async def call_store(peer: PeerID, *args: Any, **kwargs: Any) -> list[bool] | None:
        """None for a no as well: hivemind then asks another, and believes who said yes."""
        taken = await store(peer, *args, **kwargs)
        return taken if taken and any(taken) else None

    protocol.update_routing_table = update_routing_table
    protocol._validate_dictionary = keep_what_is_valid
    protocol.call_find = call_find
    protocol.call_store = call_store


class GuardedP2P(P2P):
    """hivemind's P2P with a door: every call and answer passes it, in and out."""

    def admit_by(self, gate: Gate) -> None:
        """To be called before the first handler is added, when the daemon runs."""
        self.turned_away: dict[str, str] = {}
        client: Any = self._client
        client.control._handler_tasks = calls.Answering()
        client.control._pending_calls = calls.Waiting(client.control._pending_calls)
        self._gate = gate
        assert self.peer_id, "the daemon runs"
        self._proof = gate.access.proof(self.peer_id.to_base58())

    async def add_protobuf_handler(
        self,
        name: str,
        handler: Callable[[Any, P2PContext], Awaitable[Any]],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        async def guarded(request: Any, context: P2PContext) -> Any:
            caller = context.remote_id.to_base58()
            if not self._gate.access.admits(caller, request.auth.signature):
                self._gate.refusals.count(Reason.OUTSIDER, caller.encode())
                raise PermissionError(NO_MEMBER)
            _check_size(request)
            response = await handler(request, context)
            response.auth.signature = self._proof
            return response

        await super().add_protobuf_handler(name, guarded, *args, **kwargs)

    async def call_protobuf_handler(
        self, peer_id: PeerID, name: str, input: Any, output_protobuf_type: Any
    ) -> Any:
        callee, access = peer_id.to_base58(), self._gate.access
        if not access.lists(callee):
            raise self._away(callee, "swarm.allowed_peers here doesn't list it")
        input.auth.signature = self._proof
        try:
            response: Any = await super().call_protobuf_handler(
                peer_id, name, input, output_protobuf_type
            )
        except P2PHandlerError as error:
            if NO_MEMBER in str(error):
                raise self._away(callee, "it turns us away as no member of its swarm") from error
            raise
        if not access.admits(callee, response.auth.signature):
            self._gate.refusals.count(Reason.OUTSIDER, callee.encode())
            raise self._away(callee, "it doesn't know the secret of our swarm")
        self.turned_away.pop(callee, None)
        return response

    def _away(self, peer: str, reason: str) -> PermissionError:
        if len(self.turned_away) < MAX_TURNED_AWAY:
            self.turned_away[peer] = reason
        return PermissionError(reason)


def _check_size(request: Any) -> None:
    """Raises ValueError for a call that would keep this node busy, or whose answer would."""
    most = MAX_KEYS_ASKED if isinstance(request, FindRequest) else MAX_KEYS
    if len(getattr(request, "keys", ())) > most:
        raise ValueError("too many keys")
    if request.ByteSize() > MAX_CALL_BYTES:
        raise ValueError("too large a call")


class Gatekeeper(RSASignatureValidator):
    """hivemind's check of signatures, made strict, with the gate behind it.

    By itself hivemind accepts any record that claims no owner.
    """

    # Only the frame at the very end: a text may hold the same characters.
    _SIGNATURE_RE = re.compile(rb"\[signature:([A-Za-z0-9+/=]+)\]\Z")

    def __init__(self, private_key: rsa.RSAPrivateKey, gate: Gate):
        super().__init__(_NodeKey(private_key))
        self._gate = gate

    def validate(self, record: DHTRecord) -> bool:
        try:
            self._check(record)
        except RefusedError as error:
            self._gate.refusals.count(error.reason, record.key, record.subkey, record.value)
            return False
        return True

    def _check(self, record: DHTRecord) -> None:
        if len(record.value) > self._gate.limits.max_record_bytes + SIGNATURE_BYTES:
            raise RefusedError(Reason.OVERSIZED)
        try:
            peer = peer_of_packed(record.subkey)
        except ValueError as error:
            raise RefusedError(Reason.UNSIGNED) from error
        if not super().validate(record):
            raise RefusedError(Reason.FORGED)
        self._gate.admit(record.key, peer, self.strip_value(record), record.expiration_time)


class _NodeKey(RSAPrivateKey):
    """A key of our own in place of the new one that hivemind would make."""

    def __init__(self, private_key: rsa.RSAPrivateKey):
        self._private_key = private_key


class _Storage(DHTLocalStorage):
    """A shelf behind the methods by which hivemind knows its storage."""

    def __init__(self, gate: Gate):
        super().__init__()
        self._gate = gate
        self._shelf = Shelf(gate.limits)

    def store(self, key: DHTID, value: Any, expiration_time: float, subkey: Any = None) -> bool:
        return self.store_subkey(key, subkey, value, expiration_time)

    def store_subkey(self, key: DHTID, subkey: Any, value: Any, expiration_time: float) -> bool:
        record = key.to_bytes(), subkey, value
        assert isinstance(subkey, bytes), "the gate lets in nothing without an owner"
        try:
            return self._shelf.take(*record, expiration_time, get_dht_time())
        except RefusedError as error:
            self._gate.refusals.count(error.reason, *record)
            return False

    def get(self, key: DHTID) -> ValueWithExpiration | None:
        found = self._shelf.get(key.to_bytes(), get_dht_time())
        if not found:
            return None
        entries = Entries()
        with entries.freeze():
            for owner, kept in found.items():
                entries.store(owner, kept.value, kept.expiration)
        return ValueWithExpiration(entries, entries.latest_expiration_time)

    def items(self) -> Iterator[tuple[DHTID, ValueWithExpiration]]:
        for key in self._shelf.newest(HANDED_ON_BYTES):
            key_id = DHTID.from_bytes(key)
            found = self.get(key_id)
            if found:
                yield key_id, found


class _NoCache(DHTLocalStorage):
    """Keeps nothing: in hivemind's cache any peer may put what it likes."""

    def store(self, *_: Any, **__: Any) -> bool:
        return False

    def store_subkey(self, *_: Any, **__: Any) -> bool:
        return False


class _NoCount(Counter[PeerID]):
    """Where each failure costs a peer as much as the first, nobody has to be remembered for it."""

    def __setitem__(self, key: PeerID, value: int) -> None:
        pass


def _make_room(table: RoutingTable, node_id: DHTID) -> None:
    """hivemind notes whoever calls, without bound, to take the place of one that is gone."""
    waiting = table.buckets[table.get_bucket_index(node_id)].replacement_nodes
    if node_id not in table and len(waiting) >= table.bucket_size:
        del table[next(iter(waiting))]


def _without_promises(item: ValueWithExpiration | None) -> ValueWithExpiration | None:
    """What a peer found, good for as long as its records are signed for, whatever the peer says."""
    if item is None or not isinstance(item.value, Entries):
        return None
    with item.value.freeze():
        until = [expiration for _, (_, expiration) in item.value.items()]
    return ValueWithExpiration(item.value, max(until)) if until else None


def _in_their_places(nearest: dict[DHTID, PeerID], limit: int) -> dict[DHTID, PeerID]:
    own = ((node_id, peer) for node_id, peer in nearest.items() if node_id == place_of(peer))
    return dict(pair for pair, _ in zip(own, range(limit), strict=False))
