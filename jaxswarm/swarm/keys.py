"""The keys of the DHT, all of them, and the id under which hivemind files each."""

import hashlib

import msgpack

from jaxswarm.records import Position
from jaxswarm.swarm.shards import EVERYBODY, Shard


def members(swarm: str, shard: Shard = EVERYBODY) -> str:
    """The key of the heartbeats in one bucket: one subkey per node, its public key."""
    name = f"{swarm}/members"
    return name if shard == EVERYBODY else f"{name}/{shard.depth}/{shard.bucket}"


def output(swarm: str, position: Position, peer: str) -> str:
    """The key of one peer's output for one stage, so that no reply carries the whole swarm."""
    return f"{swarm}/outputs/{position.round}/{position.stage}/{peer}"


def record_id(key: str) -> bytes:
    """The 20 bytes by which hivemind files a key: SHA-1 of its msgpack form."""
    packed = msgpack.packb(key)
    assert isinstance(packed, bytes)
    return hashlib.sha1(packed, usedforsecurity=False).digest()
