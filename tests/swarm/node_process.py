"""A node's swarm side in a process of its own, driven from a test: real daemons, real deaths.

The processes are forked from a server that has imported hivemind once (seconds), before any thread
or daemon exists there.
"""

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from jaxswarm.errors import InputError
from jaxswarm.records import Position, Reply, StageOutput
from jaxswarm.swarm.identity import open_identity
from jaxswarm.swarm.waiting import Gathered
from tests.swarm import hosts

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["jaxswarm.swarm.dht_exchange"])

QUICK = {
    "heartbeat_s": 0.5,
    "member_ttl_s": 20.0,
    "poll_s": 0.1,
    "watch_s": 0.5,
    "retry_s": 2.0,
    "call_timeout_s": 5.0,
    "host_maddrs": ("/ip4/127.0.0.1/tcp/0",),
}
"""A network on loopback, and the patience of a test."""

MANIFEST = {"data": "d1", "question_seed": 7, "questions_per_round": 4, "prompts": "terse 1"}


@dataclass
class NodeProcess:
    """One node. `call` runs a method of its exchange and waits; `begin` and `end` do it apart.

    `clock_ahead_s`: by how much this process's clock is ahead of the machine's. `namespace`: the
    network namespace that is its host; "": this machine itself.
    """

    directory: Path
    settings: dict[str, Any] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)
    clock_ahead_s: float = 0.0
    namespace: str = ""

    def __post_init__(self) -> None:
        self.directory.mkdir(exist_ok=True)
        if not (self.directory / "identity.key").exists():  # so that it is no news
            open_identity(self.directory / "identity.key").close()
        self.stderr = self.directory / "stderr"
        self.events: list[str] = []
        self.played: list[tuple[Position, frozenset[str]]] = []
        self._here, there = _CONTEXT.Pipe()
        settings = {
            "name": "test",
            "identity_path": str(self.directory / "identity.key"),
            **QUICK,
            **self.settings,
        }
        self._process = _CONTEXT.Process(
            target=_serve,
            args=(
                there,
                self.stderr,
                settings,
                MANIFEST | self.manifest,
                self.clock_ahead_s,
                self.namespace,
            ),
        )
        self._process.start()
        there.close()

    def join(self) -> "NodeProcess":
        self.call("join")
        return self

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        self.begin(method, *args, **kwargs)
        return self.end()

    def begin(self, method: str, *args: Any, **kwargs: Any) -> None:
        self._here.send((method, args, kwargs))

    def end(self, timeout_s: float = 90.0) -> Any:
        deadline = time.monotonic() + timeout_s
        while self._here.poll(max(0.0, deadline - time.monotonic())):
            kind, value = self._here.recv()
            if kind == "result":
                return value
            if kind == "error":
                raise value
            if kind == "played":
                self.played.append(value)
            else:
                self.events.append(value)
        raise TimeoutError(f"no answer in {timeout_s} s")

    @property
    def peer(self) -> str:
        return self.call("peer")

    @property
    def maddr(self) -> str:
        return self.call("maddrs")[0]

    @property
    def pid(self) -> int:
        assert self._process.pid
        return self._process.pid

    def daemon(self) -> psutil.Process:
        (daemon,) = (p for p in psutil.Process(self.pid).children() if "p2pd" in p.name())
        return daemon

    def others(self) -> dict[str, Any]:
        """The members that this node hears, by peer."""
        return {member.peer: member for member in self.call("peers")}

    def told(self, words: str) -> list[str]:
        """The lines with these words that it has given a person so far."""
        self.call("refused")
        return [event for event in self.events if words in event]

    def stage(self, position: Position, text: str, deadline_s: float = 60.0) -> None:
        """Begins what a node does in a stage: announce, publish, announce, gather."""
        self.begin("stage", position, text, deadline_s)

    def live(self, stage_s: float, deadline_s: float = 60.0) -> None:
        """Plays round after round from now on as a node does; what a stage costs is time alone.

        `played` then holds each stage with the texts of others that it brought in. Again: at
        another pace.
        """
        self.call("live", stage_s, deadline_s)

    def plays(self) -> Position:
        """The last stage that it has played."""
        self.call("refused")
        return self.played[-1][0] if self.played else Position(0, 0)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def close(self) -> str:
        """Leaves in good order. What the process wrote to standard error meanwhile and before."""
        self.call("close")
        self._here.send(None)
        self._process.join(20)
        assert self._process.exitcode == 0
        return self.stderr.read_text()

    def dispose(self) -> None:
        if self._process.is_alive():
            for daemon in psutil.Process(self.pid).children():
                daemon.kill()  # one that a test has stopped would never see that its node is gone
            self.kill()
        self._here.close()


def output(peer: str, position: Position, text: str) -> StageOutput:
    return StageOutput(peer, position, (Reply("0123456789abcdef", text, "none"),))


def until(condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """Waits for something of the outside world to come true."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.1)
    return value


def _set_clock(ahead_s: float) -> None:
    """Moves the clock of this process: all there is that reads one, hivemind included."""
    true_time = time.time

    def moved() -> float:
        return true_time() + ahead_s

    time.time = moved
    for module in list(sys.modules.values()):
        if getattr(module, "get_dht_time", None) is true_time:
            vars(module)["get_dht_time"] = moved


def _serve(
    there: Connection,
    stderr: Path,
    settings: dict[str, Any],
    manifest: dict[str, Any],
    clock_ahead_s: float,
    namespace: str,
) -> None:
    if namespace:
        hosts.move_to(namespace)  # before it has any other thread
    if clock_ahead_s:
        _set_clock(clock_ahead_s)
    from jaxswarm.swarm.config import DhtConfig
    from jaxswarm.swarm.dht_exchange import DhtExchange
    from jaxswarm.swarm.manifest import Manifest

    file = os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    lock, directory_name = threading.Lock(), stderr.parent.name

    def send(kind: str, value: Any) -> None:
        with lock:
            there.send((kind, value))

    exchange: DhtExchange | None = None

    def stage(position: Position, text: str, deadline_s: float) -> Any:
        assert exchange
        exchange.announce(position, False)
        exchange.publish(output(exchange.peer, position, text))
        exchange.announce(position, True)
        return exchange.gather(position, deadline_s, lambda _: True)

    pace_s: list[float] = []
    ended = threading.Event()

    def live(stage_s: float, deadline_s: float) -> None:
        pace_s.append(stage_s)
        if len(pace_s) == 1:
            threading.Thread(target=play_on, args=(deadline_s,), daemon=True).start()

    def play_on(deadline_s: float) -> None:
        assert exchange
        position, joining = Position(0, 0), True
        while not ended.is_set():
            while (target := exchange.target(position, joining=joining)) != position:
                position, joining = target, False
                exchange.wait_for(position, deadline_s, lambda _: not ended.is_set())
            joining = False
            exchange.announce(position, False)
            ended.wait(pace_s[-1])
            exchange.publish(output(exchange.peer, position, directory_name))
            exchange.announce(position, True)
            gathered = exchange.gather(position, deadline_s, lambda _: not ended.is_set())
            texts = frozenset(reply.text for each in gathered.outputs for reply in each.replies)
            send("played", (position, texts))
            position = position.next()

    while request := there.recv():
        method, args, kwargs = request
        try:
            if exchange is None:
                config = DhtConfig(**settings)
                exchange = DhtExchange(config, Manifest(**manifest), lambda e: send("event", e))
            if method == "stage":
                value = stage(*args)
            elif method == "live":
                value = live(*args)
            elif method == "set_clock":
                value = _set_clock(*args)
            elif method in ("gather", "wait_for"):
                value = getattr(exchange, method)(*args, lambda _: True, **kwargs)
            else:
                value = getattr(exchange, method)
                value = value(*args, **kwargs) if callable(value) else value
            send("result", _plain(value))
        except InputError as error:
            send("error", ValueError(str(error)))


def _plain(value: Any) -> Any:
    """Mapping proxies don't travel between processes."""
    if isinstance(value, Gathered):
        return replace(value, refused=dict(value.refused))
    return dict(value) if isinstance(value, Mapping) else value
