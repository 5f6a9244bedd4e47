"""A peer that keeps no rule: hivemind's own node without our gate, driven from a test."""

import asyncio
import dataclasses
import multiprocessing
from multiprocessing.connection import Connection
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")


class AttackerProcess:
    """Connected to one victim. `tag` and `peer` are those of a key of its own."""

    def __init__(self, victim: str):
        self._here, there = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_attack, args=(there, victim), daemon=True)
        self._process.start()
        there.close()
        self.tag: bytes = self._here.recv()

    def offer(
        self,
        key: str,
        payload: Any,
        *,
        tag: bytes | None,
        signed: bool = True,
        ttl_s: float = 60.0,
        to_victim: bool = True,
    ) -> bool | None:
        """Keeps a record for whoever asks, and asks the victim to keep it too.

        Args:
          tag: the subkey; None for a plain value without one.
          signed: with the attacker's own key, whatever the tag says.

        Returns: whether the victim took it.
        """
        self._here.send((key, payload, tag, signed, ttl_s, to_victim))
        return self._here.recv()

    def dispose(self) -> None:
        self._process.kill()
        self._process.join()
        self._here.close()


def _attack(there: Connection, victim: str) -> None:
    asyncio.run(_offer_all(there, victim))


async def _offer_all(there: Connection, victim: str) -> None:
    from hivemind.dht.crypto import RSASignatureValidator
    from hivemind.dht.node import DHTNode
    from hivemind.dht.routing import DHTID
    from hivemind.dht.validation import DHTRecord
    from hivemind.p2p import PeerID
    from hivemind.utils import MSGPackSerializer, get_dht_time
    from hivemind.utils.crypto import RSAPrivateKey

    node = await DHTNode.create(initial_peers=[victim], startup_timeout=60)
    peer = PeerID.from_base58(victim.rpartition("/p2p/")[2])
    key_pair = RSAPrivateKey()
    there.send(RSASignatureValidator(key_pair).local_public_key)
    while True:
        offer = await asyncio.to_thread(there.recv)
        key, payload, tag, signed, ttl_s, to_victim = offer
        key_id, value = DHTID.generate(key), MSGPackSerializer.dumps(payload)
        subkey = MSGPackSerializer.dumps(tag)
        record = DHTRecord(key_id.to_bytes(), subkey, value, get_dht_time() + ttl_s)
        if signed:
            signature = key_pair.sign(MSGPackSerializer.dumps(dataclasses.astuple(record)))
            value += b"[signature:" + signature + b"]"
        node.protocol.storage.store(key_id, value, record.expiration_time, subkey=tag)
        answer: list[bool] | None = [False]
        if to_victim:
            times, tags = [record.expiration_time], None if tag is None else [tag]
            answer = await node.protocol.call_store(peer, [key_id], [value], times, tags)
        there.send(answer and answer[0])
