"""One node of benchmarks.scale: the real exchange with a real daemon, and a learner that rests."""

import time
from multiprocessing.connection import Connection
from pathlib import Path

from jaxswarm.records import Position, Reply, StageOutput
from jaxswarm.swarm.config import DhtConfig, Limits
from jaxswarm.swarm.dht_exchange import DhtExchange
from jaxswarm.swarm.manifest import Manifest

REPLIES = 8
REPLY_CHARS = 2000
"""Of a stage's output, as eight questions of the main job would have it."""
JOIN_TIMEOUT_S = 300.0
DEADLINE_S = 120.0


def play(
    pipe: Connection,
    directory: Path,
    initial_peer: str,
    first_peers: int,
    stages: int,
    stage_s: float,
    limits: Limits,
) -> None:
    """Joins, waits for so many peers, plays so many stages, and stays until it is told to leave.

    It says, in this order: its address; then of each stage (peers heard, outputs read, outputs
    missing, seconds waited).
    """
    directory.mkdir()
    config = DhtConfig(
        "scale",
        str(directory / "identity.key"),
        initial_peers=(initial_peer,) if initial_peer else (),
        host_maddrs=("/ip4/127.0.0.1/tcp/0",),
        limits=limits,
    )
    exchange = DhtExchange(config, Manifest("data", 0, REPLIES, "full 1"), lambda _: None)
    exchange.join()
    pipe.send(exchange.maddrs[0])
    position, joining = Position(0, 0), True
    exchange.wait_for_peers(position, first_peers, JOIN_TIMEOUT_S, lambda _: True)
    for _ in range(stages):
        while (target := exchange.target(position, joining=joining)) != position:
            position, joining = target, False
            exchange.wait_for(position, DEADLINE_S, lambda _: True)
        joining = False
        exchange.announce(position, published=False)
        time.sleep(stage_s)
        replies = tuple(Reply(f"{n:016x}", f"{n}".ljust(REPLY_CHARS, "x")) for n in range(REPLIES))
        exchange.publish(StageOutput(exchange.peer, position, replies))
        exchange.announce(position, published=True)
        gathered = exchange.gather(position, DEADLINE_S, lambda _: True)
        read, missing = len(gathered.outputs), len(gathered.missing)
        pipe.send((len(exchange.peers()), read, missing, gathered.waited_s))
        position = position.next()
    pipe.recv()
    exchange.close()
