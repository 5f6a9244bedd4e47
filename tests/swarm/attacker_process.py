"""A peer that keeps no rule: hivemind's own node without our gate, driven from a test."""

import asyncio
import dataclasses
import multiprocessing
import time
from collections import Counter
from multiprocessing.connection import Connection
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")


class AttackerProcess:
    """Connected to one victim. `tag` is that of a key of its own.

    It stands where our nodes expect it in the key space, or right at the key `at`; its clock is
    wrong by `clock_ahead_s`. `victim` "": it starts alone.
    """

    def __init__(self, victim: str, at: str | None = None, clock_ahead_s: float = 0.0):
        self._here, there = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(
            target=_attack, args=(there, victim, at, clock_ahead_s), daemon=True
        )
        self._process.start()
        there.close()
        self.tag: bytes
        self.maddr: str
        self.tag, self.maddr = self._here.recv()

    def offer(
        self,
        key: str,
        payload: Any,
        *,
        tag: bytes | None,
        signed: bool = True,
        signature: bytes = b"",
        ttl_s: float = 60.0,
        to_victim: bool = True,
        in_cache: bool = False,
    ) -> bool | None:
        """Keeps a record for whoever asks, and asks the victim to keep it too.

        Args:
          tag: the subkey; None for a plain value without one.
          signed: with the attacker's own key, whatever the tag says.
          signature: these characters in place of a signature.

        Returns: whether the victim took it; None if it gave no answer.
        """
        how = {"tag": tag, "signed": signed, "signature": signature, "ttl_s": ttl_s}
        return self._do("offer", key, payload, to_victim=to_victim, in_cache=in_cache, **how)

    def offer_together(self, key: str, payloads: dict[bytes, bytes]) -> bool | None:
        """Offers one dictionary of payloads by tag, each signed with the attacker's own key."""
        return self._do("offer_together", key, payloads)

    def say_it_stands_at(self, place: bytes) -> None:
        """From now on answers each call so, whatever its place is."""
        self._do("say_it_stands_at", place)

    def flood(self, keys: list[str], payloads: list[bytes]) -> int:
        """Offers as many signed records, in calls of a hundred. How many the victim took."""
        return self._do("flood", keys, payloads)

    def ask(self, key: str) -> dict[bytes, bytes] | None:
        """What the victim tells of a key: by tag the bytes as stored; None: it tells nothing."""
        return self._do("ask", key)

    def call_with(self, rpc: str, request: bytes) -> str:
        """Calls one of the victim's procedures with any bytes; its answer or complaint."""
        return self._do("call_with", rpc, request)

    def lie(self, key: str, expiration: float) -> None:
        """From now on tells whoever asks for this key: nothing is there, and that until then."""
        self._do("lie", key, expiration)

    def call_nobody_back(self) -> None:
        """From now on it can't call those who ask it to."""
        self._do("call_nobody_back")

    def lies_told(self, key: str) -> int:
        """How often it was asked for the key since it began to lie."""
        return self._do("lies_told", key)

    def refuse_to_keep(self, after_s: float) -> None:
        """From now on says no to whoever wants something kept, and not at once."""
        self._do("refuse_to_keep", after_s)

    def answer_late(self, rpc: str, after_s: float) -> None:
        """From now on lets whoever calls this procedure wait."""
        self._do("answer_late", rpc, after_s)

    def refused(self) -> int:
        """How often it has said no since."""
        return self._do("refused")

    def calls_taken(self) -> dict[str, int]:
        """How often each of its procedures was called since it is connected."""
        return self._do("calls_taken")

    def holds(self, key: str) -> set[bytes]:
        """The tags of what others have given it to keep under this key."""
        return self._do("holds", key)

    def dispose(self) -> None:
        self._process.kill()
        self._process.join()
        self._here.close()

    def _do(self, what: str, *args: Any, **kwargs: Any) -> Any:
        self._here.send((what, args, kwargs))
        return self._here.recv()


def _attack(there: Connection, victim: str, at: str | None, clock_ahead_s: float) -> None:
    from hivemind.dht import protocol

    protocol.get_dht_time = lambda: time.time() + clock_ahead_s
    asyncio.run(_serve(there, victim, at))


async def _serve(there: Connection, victim: str, at: str | None) -> None:
    from hivemind.dht.node import DHTNode
    from hivemind.dht.routing import DHTID
    from hivemind.p2p import P2P, PeerID

    p2p = await P2P.create(initial_peers=[victim] if victim else (), startup_timeout=60)
    place = DHTID.generate(at or p2p.peer_id.to_base58())
    node = await DHTNode.create(p2p=p2p, node_id=place, wait_timeout=60)
    peer = PeerID.from_base58(victim.rpartition("/p2p/")[2]) if victim else p2p.peer_id
    if victim:
        await node.protocol.call_ping(peer)
    attacker = _Attacker(node, peer)
    there.send((attacker.tag, str((await p2p.get_visible_maddrs())[0])))
    while True:
        what, args, kwargs = await asyncio.to_thread(there.recv)
        there.send(await getattr(attacker, what)(*args, **kwargs))


class _Attacker:
    def __init__(self, node: Any, victim: Any):
        from hivemind.dht.crypto import RSASignatureValidator
        from hivemind.utils.crypto import RSAPrivateKey

        self._node, self._victim = node, victim
        self._key_pair = RSAPrivateKey()
        self._lies: dict[Any, float] = {}
        self._lies_told: Counter[Any] = Counter()
        self.tag = RSASignatureValidator(self._key_pair).local_public_key
        self._refused = 0
        self._taken: Counter[str] = Counter()
        self._handlers = node.p2p._client.control.unary_handlers
        for name, handler in list(self._handlers.items()):
            self._handlers[name] = self._counting(name, handler)

    def _counting(self, name: str, handler: Any) -> Any:
        async def counted(data: bytes, caller: Any) -> bytes:
            self._taken[name] += 1
            return await handler(data, caller)

        return counted

    async def offer(
        self,
        key: str,
        payload: Any,
        *,
        tag: bytes | None,
        signed: bool,
        signature: bytes,
        ttl_s: float,
        to_victim: bool,
        in_cache: bool,
    ) -> bool | None:
        key_id, value, expiration = self._record(key, payload, tag, signed, signature, ttl_s)
        self._node.protocol.storage.store(key_id, value, expiration, subkey=tag)
        if not to_victim:
            return False
        answer = await self._node.protocol.call_store(
            self._victim, [key_id], [value], [expiration], None if tag is None else [tag], in_cache
        )
        return answer and answer[0]

    async def offer_together(self, key: str, payloads: dict[bytes, bytes]) -> bool | None:
        from hivemind.dht.storage import DictionaryDHTValue

        dictionary = DictionaryDHTValue()
        for tag, payload in payloads.items():
            key_id, value, expiration = self._record(key, payload, tag, True, b"", 60.0)
            dictionary.store(tag, value, expiration)
        answer = await self._node.protocol.call_store(
            self._victim, [key_id], [dictionary], [expiration]
        )
        return answer and answer[0]

    async def say_it_stands_at(self, place: bytes) -> None:
        self._node.protocol.node_info.node_id = place

    async def flood(self, keys: list[str], payloads: list[bytes]) -> int:
        taken = 0
        for start in range(0, len(keys), 100):
            records = [
                self._record(key, payload, self.tag, True, b"", 3600.0)
                for key, payload in zip(keys[start:][:100], payloads[start:][:100], strict=True)
            ]
            key_ids, values, expirations = (list(column) for column in zip(*records, strict=True))
            tags = [self.tag] * len(records)
            answer = await self._node.protocol.call_store(
                self._victim, key_ids, values, expirations, tags
            )
            taken += sum(answer or ())
        return taken

    async def ask(self, key: str) -> dict[bytes, bytes] | None:
        from hivemind.dht.routing import DHTID

        key_id = DHTID.generate(key)
        found = await self._node.protocol.call_find(self._victim, [key_id])
        if found is None:
            return None
        item, _ = found[key_id]
        return {} if item is None else {tag: entry.value for tag, entry in item.value.items()}

    async def call_with(self, rpc: str, request: bytes) -> str:
        try:
            answer = await self._node.p2p._client.call_unary_handler(
                self._victim, f"DHTProtocol.{rpc}", request
            )
        except Exception as error:  # noqa: BLE001 the complaint is what the test wants
            return repr(error)
        return answer.hex()

    async def lie(self, key: str, expiration: float) -> None:
        from hivemind.dht.routing import DHTID
        from hivemind.dht.storage import DictionaryDHTValue
        from hivemind.utils.timed_storage import ValueWithExpiration

        self._lies[DHTID.generate(key)] = expiration
        told = self._node.protocol.storage.get

        def get(key_id: Any) -> Any:
            until = self._lies.get(key_id)
            if until is None:
                return told(key_id)
            self._lies_told[key_id] += 1
            return ValueWithExpiration(DictionaryDHTValue(), until)

        self._node.protocol.storage.get = get

    async def call_nobody_back(self) -> None:
        async def ping(*_: Any, **__: Any) -> None:
            return None

        self._node.protocol.call_ping = ping

    async def lies_told(self, key: str) -> int:
        from hivemind.dht.routing import DHTID

        return self._lies_told[DHTID.generate(key)]

    async def refuse_to_keep(self, after_s: float) -> None:
        from hivemind.proto.dht_pb2 import StoreRequest, StoreResponse

        async def say_no(data: bytes, _: Any) -> bytes:
            await asyncio.sleep(after_s)
            self._refused += 1
            asked = StoreRequest()
            asked.ParseFromString(data)
            return StoreResponse(store_ok=[False] * len(asked.keys)).SerializeToString()

        self._handlers["DHTProtocol.rpc_store"] = say_no

    async def answer_late(self, rpc: str, after_s: float) -> None:
        name = f"DHTProtocol.{rpc}"
        in_time = self._handlers[name]

        async def late(data: bytes, caller: Any) -> bytes:
            await asyncio.sleep(after_s)
            return await in_time(data, caller)

        self._handlers[name] = late

    async def refused(self) -> int:
        return self._refused

    async def calls_taken(self) -> dict[str, int]:
        return dict(self._taken)

    async def holds(self, key: str) -> set[bytes]:
        from hivemind.dht.routing import DHTID

        item = self._node.protocol.storage.get(DHTID.generate(key))
        return {tag for tag, _ in item.value.items()} if item else set()

    def _record(
        self,
        key: str,
        payload: Any,
        tag: bytes | None,
        signed: bool,
        signature: bytes,
        ttl_s: float,
    ) -> tuple[Any, bytes, float]:
        from hivemind.dht.routing import DHTID
        from hivemind.dht.validation import DHTRecord
        from hivemind.utils import MSGPackSerializer, get_dht_time

        key_id, value = DHTID.generate(key), MSGPackSerializer.dumps(payload)
        subkey = MSGPackSerializer.dumps(tag)
        record = DHTRecord(key_id.to_bytes(), subkey, value, get_dht_time() + ttl_s)
        if signed and not signature:
            signature = self._key_pair.sign(MSGPackSerializer.dumps(dataclasses.astuple(record)))
        if signature:
            value += b"[signature:" + signature + b"]"
        return key_id, value, record.expiration_time
