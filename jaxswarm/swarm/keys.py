"""The keys of the DHT, all of them, and the id under which hivemind files each."""

import hashlib

import msgpack

from jaxswarm.records import Position


def members(swarm: str) -> str:
    """The key of the heartbeats: one subkey per node, its public key."""
    return f"{swarm}/members"


def output(swarm: str, position: Position, peer: str) -> str:
    """The key of one peer's output for one stage, so that no reply carries the whole swarm."""
    return f"{swarm}/outputs/{position.round}/{position.stage}/{peer}"


def record_id(key: str) -> bytes:
    """The 20 bytes by which hivemind files a key: SHA-1 of its msgpack form."""
    packed = msgpack.packb(key)
    assert isinstance(packed, bytes)
    return hashlib.sha1(packed, usedforsecurity=False).digest()
