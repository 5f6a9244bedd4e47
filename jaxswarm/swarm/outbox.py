"""A node's own outputs: stored in the swarm, and again until somebody has taken them."""

import asyncio
from collections.abc import Awaitable, Callable

from jaxswarm.records import Position

Store = Callable[[Position, bytes], Awaitable[bool]]
"""Offers a payload to the swarm. True: it was taken."""


class Outbox:
    """The last outputs of this node. All methods belong on one event loop."""

    def __init__(self, store: Store, kept: int):
        """`kept`: outputs that are remembered, to be stored again."""
        self._store = store
        self._kept = kept
        self._payloads: dict[Position, bytes] = {}
        self._waiting: set[Position] = set()
        self._storing: dict[Position, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._payloads)

    async def put(self, position: Position, payload: bytes, at_most_s: float) -> bool:
        """Stores an output. False: it is not taken after so many seconds; the attempt goes on."""
        self._payloads.pop(position, None)
        self._payloads[position] = payload
        # The oldest goes, not the lowest: who was cut off ahead has come back to a lower round.
        for oldest in list(self._payloads)[: -self._kept]:
            del self._payloads[oldest]
            self._waiting.discard(oldest)
        self._waiting.add(position)
        await asyncio.wait([self._attempt(position)], timeout=at_most_s)
        return position not in self._waiting

    async def store_waiting(self) -> None:
        """One attempt for each output that nobody has taken yet, all at once."""
        await asyncio.gather(*map(self._attempt, sorted(self._waiting)))

    def store_again(self) -> None:
        """Whoever is back in touch may lack any of them."""
        self._waiting.update(self._payloads)

    def _attempt(self, position: Position) -> asyncio.Task[None]:
        """The one under way, or a new one: of two at once the second to end would be refused."""
        if position not in self._storing:
            attempt = self._storing[position] = asyncio.create_task(self._offer(position))
            attempt.add_done_callback(lambda _: self._storing.pop(position))
        return self._storing[position]

    async def _offer(self, position: Position) -> None:
        payload = self._payloads.get(position)
        if payload is not None and await self._store(position, payload):
            self._waiting.discard(position)
