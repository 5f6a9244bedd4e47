"""The `Exchange` with real peers: a background thread with an event loop, and an `Agent` on it."""

import asyncio
import logging
import math
import threading
from collections.abc import Collection, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from jaxswarm.records import Position, StageOutput
from jaxswarm.swarm import arrivals, codec, rounds, waiting
from jaxswarm.swarm.addresses import check_addresses
from jaxswarm.swarm.agent import Agent
from jaxswarm.swarm.config import DhtConfig
from jaxswarm.swarm.identity import open_identity
from jaxswarm.swarm.manifest import Manifest
from jaxswarm.swarm.rounds import Member
from jaxswarm.swarm.uplink import OnEvent
from jaxswarm.swarm.waiting import NOTHING_OWED, Gathered, OnWait, Owed

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class DhtExchange:
    """An `Exchange` over the Hivemind DHT.

    Every call returns in bounded time, whatever the network does. An `InputError` that shows itself
    only later (the initial peer comes back and its swarm has another manifest; the identity is in
    use elsewhere) is raised by the next call.
    """

    def __init__(self, config: DhtConfig, manifest: Manifest, on_event: OnEvent):
        """Starts nothing yet.

        Args:
          config: how to stand in the network.
          manifest: what this node and its swarm must have in common.
          on_event: gets a line for each thing that a person should know (no initial peer answers,
            the daemon died, ...). Called from the background thread.

        Raises:
          InputError: an address is no multiaddress.
        """
        check_addresses(config)
        self._config = config
        self._on_event = on_event
        self._closed = threading.Event()
        self._identity = None
        self._loop = _Loop()
        self._thread = threading.Thread(target=self._run_loop, name="swarm", daemon=True)
        self._manifest = manifest
        self._agent: Agent | None = None

    @property
    def peer(self) -> str:
        assert self._identity, "join first"
        return self._identity.peer

    @property
    def maddrs(self) -> tuple[str, ...]:
        """The addresses by which others can join this node; after `join`."""
        return self._joined.maddrs

    def join(self) -> None:
        """As in `Exchange`. Starts the thread and the daemon; on an error both are ended again.

        Raises:
          InputError: the identity file is no key or in use, an address or port can't be used, the
            daemon doesn't start, or the manifest of the swarm differs.
        """
        try:
            backup = Path(self._config.identity_backup) if self._config.identity_backup else None
            self._identity = open_identity(Path(self._config.identity_path), backup)
            if self._identity.news:
                self._on_event(self._identity.news)
            self._agent = Agent(self._config, self._manifest, self._identity, self._on_event)
            self._thread.start()
            self._call(self._agent.start())
        except BaseException:  # also of Ctrl-C: no daemon may outlive a failed start
            self.close()
            raise

    def announce(self, position: Position, published: bool) -> None:
        self._say(position, published=published, waiting=False)

    def publish(self, output: StageOutput) -> None:
        assert output.peer == self.peer, (output.peer, self.peer)
        fitting = codec.fitting(output, self._config.limits)
        if len(fitting.replies) < len(output.replies):
            left_out = len(output.replies) - len(fitting.replies)
            self._on_event(f"{left_out} replies don't fit a record and are left out")
        if not self._call(self._joined.publish(fitting)):
            self._on_event(
                f"the output of {output.position} is not out yet; trying again meanwhile"
            )

    def gather(
        self,
        position: Position,
        deadline_s: float,
        on_wait: OnWait,
        owed: Owed = NOTHING_OWED,
    ) -> Gathered:
        most = self._config.limits.max_partners
        return waiting.gather(self, position, deadline_s, on_wait, owed, most)

    def arrived(self, seen: Mapping[str, Position], round_index: int) -> tuple[StageOutput, ...]:
        most = self._config.limits.max_partners
        return arrivals.arrived(self, seen, round_index, self._config.call_timeout_s, most)

    def target(self, position: Position, *, joining: bool = False) -> Position:
        if self._joined.fatal:
            raise self._joined.fatal
        # Who plays has just gathered, and heard all there is to hear.
        others = self.look(math.inf) if joining else self.peers()
        return rounds.go_on(position, others, joining=joining)

    def wait_for(self, position: Position, deadline_s: float, on_wait: OnWait) -> None:
        if rounds.may_start(position, self.peers()):
            return
        self._say(position, published=False, waiting=True)
        waiting.wait_for(self, position, deadline_s, on_wait)

    def wait_for_peers(
        self, position: Position, count: int, deadline_s: float, on_wait: OnWait
    ) -> None:
        self._say(position, published=False, waiting=True)
        waiting.wait_for_peers(self, position, count, deadline_s, on_wait)

    def peers(self) -> tuple[Member, ...]:
        return self._joined.members()

    def refused(self) -> Mapping[str, int]:
        return self._joined.gate.refusals.counts()

    def leave(self) -> None:
        async def leave() -> None:
            self._joined.leave()

        if not self._closed.is_set():
            asyncio.run_coroutine_threadsafe(leave(), self._loop).result()

    def close(self) -> None:
        if self._closed.is_set():
            return
        self._closed.set()
        if self._thread.is_alive():
            if self._agent:
                asyncio.run_coroutine_threadsafe(self._agent.stop(), self._loop).result()
            asyncio.run_coroutine_threadsafe(_end_tasks(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()
        if self._identity:
            self._identity.close()

    def look(self, at_most_s: float) -> tuple[Member, ...]:
        return self._call(self._joined.refresh(at_most_s))

    def departed(self) -> tuple[Member, ...]:
        return self._joined.departed()

    def is_connected(self) -> bool:
        return self._joined.is_connected

    def read(
        self, position: Position, peers: Collection[str], at_most_s: float
    ) -> Mapping[str, StageOutput]:
        return self._call(self._joined.read(position, peers, at_most_s))

    def pause(self, at_most_s: float) -> None:
        self._closed.wait(min(self._config.poll_s, at_most_s))

    @property
    def _joined(self) -> Agent:
        assert self._agent, "join first"
        return self._agent

    def _say(self, position: Position, *, published: bool, waiting: bool) -> None:
        async def say() -> None:
            self._joined.say(position, published=published, waiting=waiting)

        self._call(say())

    def _call(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Runs `work` on the loop. Every step of it has a timeout of its own."""
        assert not self._closed.is_set(), "closed"
        if self._joined.fatal:
            work.close()
            raise self._joined.fatal
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(_note)
        self._loop.run_forever()


class _Loop(asyncio.SelectorEventLoop):
    """A loop whose children stand in a session of their own.

    So Ctrl-C reaches the node alone, which still needs its daemon to leave the swarm.
    """

    async def subprocess_exec(self, *args: Any, **kwargs: Any) -> Any:
        return await super().subprocess_exec(*args, **kwargs, start_new_session=True)


def _note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """hivemind leaves tasks to themselves; that one fails when a peer vanishes is no news."""
    logger.debug("on the event loop: %s", context)


async def _end_tasks() -> None:
    """Cancels what hivemind left running, so that the loop closes without a complaint."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
