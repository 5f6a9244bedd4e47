"""Starts the nodes of one swarm on this machine, shows them, and says at the end what they did.

    python -m jaxswarm.launch --nodes 3 --config configs/tiny.py [--out DIR] [--config.a.b=c ...]

The first node starts the swarm; the others join it by the address that the first one writes to its
`node.json`. Each is a process of `jaxswarm.main` with a directory and a seed of its own; the other
flags reach all of them as they are. The same `--out` again goes on where its nodes stopped. The
exit code is 0 only if every node finished.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console

from jaxswarm.errors import InputError
from jaxswarm.files import unwritable
from jaxswarm.journal import JOURNAL_FILE
from jaxswarm.panel import Panel, end_table
from jaxswarm.processes import KILL_AFTER_S, NodeProcess, Stop
from jaxswarm.reports import METRICS_FILE, read_reports
from jaxswarm.status import duration

ADDRESS_TIMEOUT_S = 600.0
"""How long the first node may take until others can join it: a large model loads for minutes."""

POLL_S = 0.25
TAIL_LINES = 15

SEED = "--config.seed="
DIRECTORY = "--config.output.directory="
FIRST_PEERS = "--config.swarm.first_peers="
INITIAL_PEERS = "--config.swarm.initial_peers="

WIDTH_WITHOUT_TERMINAL = 160
"""The table's columns stay whole in a log."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start: `command` with flags, once a node, each in `out`/node-i."""

    nodes: int
    config: str
    out: Path
    seed: int = 0
    """Of the first node; the next ones count up from it."""
    overrides: tuple[str, ...] = ()
    command: tuple[str, ...] = (sys.executable, "-m", "jaxswarm.main")

    def directory(self, index: int) -> Path:
        return self.out / f"node-{index}"

    def command_of(self, index: int, address: str | None) -> list[str]:
        """The command line of one node; the first of a swarm has no `address` to join."""
        flags = [
            f"{DIRECTORY}{self.directory(index)}",
            f"{SEED}{self.seed + index}",
            f"{FIRST_PEERS}{self.nodes - 1}",
        ]
        if address is not None:
            flags.append(f"{INITIAL_PEERS}{address}")
        return [*self.command, f"--config={self.config}", *flags, *self.overrides]


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code."""
    try:
        plan = parse(sys.argv[1:] if argv is None else argv)
        console = Console()
        if not console.is_terminal:
            console = Console(width=WIDTH_WITHOUT_TERMINAL)
        return launch(plan, console)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def parse(argv: Sequence[str]) -> Plan:
    """The plan that a command line asks for.

    Raises:
      InputError: it asks for something that can't be started.
    """
    parser = argparse.ArgumentParser(
        prog="python -m jaxswarm.launch",
        description="Starts the nodes of one swarm on this machine.",
        epilog="Flags of the form --config.a.b=value go to every node.",
        allow_abbrev=False,
    )
    parser.add_argument("--nodes", type=int, default=3, help="how many (default: 3)")
    parser.add_argument("--config", required=True, help="a config file, such as configs/tiny.py")
    parser.add_argument(
        "--out", type=Path, help="directory of the run (default: a new one in runs/)"
    )
    known, rest = parser.parse_known_args(argv)
    if known.nodes < 1:
        raise InputError("--nodes", got=known.nodes, expected="at least 1", remedy="raise it")
    file = known.config.split(":")[0]  # ml_collections takes FILE:ARGUMENT
    if not Path(file).is_file():
        raise InputError(
            "--config", got=file, expected="a config file", remedy="try configs/tiny.py"
        )
    for flag in rest:
        _check_override(flag)
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return Plan(
        nodes=known.nodes,
        config=known.config,
        out=known.out or Path("runs") / f"{Path(file).stem}-{stamp}",
        seed=_seed(rest),
        overrides=tuple(flag for flag in rest if not flag.startswith(SEED)),
    )


def launch(plan: Plan, console: Console) -> int:
    """Runs the plan to its end and shows it. Returns the exit code.

    Raises:
      InputError: the directory can't be written.
    """
    nodes: list[NodeProcess] = []
    stop = Stop()
    with stop.listening(), Panel(console) as panel:
        panel.say(f"{plan.nodes} nodes of {plan.config} in {plan.out}")
        try:
            _run(plan, _Watch(nodes, panel, stop))
        finally:
            for node in nodes:
                node.kill()
    _report(plan, nodes, console)
    return 0 if len(nodes) == plan.nodes and all(node.finished for node in nodes) else 1


class _Watch:
    """The nodes that run: shown, heard, and stopped when that is asked for."""

    def __init__(self, nodes: list[NodeProcess], panel: Panel, stop: Stop):
        self._nodes = nodes
        self._panel = panel
        self._stop = stop
        self._ended: set[str] = set()
        self._asked_at: float | None = None

    @property
    def stopping(self) -> bool:
        return self._stop.asked > 0

    def start(self, plan: Plan, index: int, address: str | None) -> NodeProcess:
        directory = plan.directory(index)
        try:
            node = NodeProcess(plan.command_of(index, address), directory)
        except OSError as error:
            raise unwritable(directory, error) from error
        self._nodes.append(node)
        return node

    def give_up(self, reason: str) -> None:
        """Says why, and asks all nodes to end."""
        self._panel.say(reason)
        self._stop.asked += 1

    def running(self) -> bool:
        """Whether any node runs. Shows them, says who has ended, and rests for a moment."""
        self._panel.show(self._nodes)
        for node in self._nodes:
            if node.code is not None and node.name not in self._ended:
                self._ended.add(node.name)
                self._panel.say(_farewell(node, with_log=not self.stopping))
        left = [node for node in self._nodes if node.name not in self._ended]
        if self.stopping:
            self._end(left)
        if left:
            time.sleep(POLL_S)
        return bool(left)

    def _end(self, left: Sequence[NodeProcess]) -> None:
        """Asks once; ends by force after a while, or when a person asks again."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            self._panel.say(
                f"stopping; each node may finish its stage within {duration(KILL_AFTER_S)};"
                " ask again to end them at once"
            )
            for node in left:
                node.terminate()
        elif self._stop.asked > 1 or time.monotonic() - self._asked_at > KILL_AFTER_S:
            for node in left:
                node.kill()


def _run(plan: Plan, watch: _Watch) -> None:
    """Starts the nodes and returns when all have ended."""
    first = watch.start(plan, 0, None)
    elsewhere = any(flag.startswith(INITIAL_PEERS) for flag in plan.overrides)
    patience = time.monotonic() + ADDRESS_TIMEOUT_S
    while plan.nodes > 1 and not elsewhere and first.card() is None:
        if not watch.running():
            return
        if time.monotonic() > patience and not watch.stopping:
            watch.give_up(
                f"{first.name} has given no address to join by within "
                f"{duration(ADDRESS_TIMEOUT_S)}; its log: {first.log}"
            )
    if not watch.stopping:
        card = first.card()
        address = card.addresses[0] if card and card.addresses and not elsewhere else None
        for index in range(1, plan.nodes):
            watch.start(plan, index, address)
    while watch.running():
        pass


def _farewell(node: NodeProcess, *, with_log: bool) -> str:
    """What is said when a node has ended; with the end of its log where it died unasked."""
    if node.code == 0 or not with_log:
        return f"{node.name}: {node.end()}"
    return f"{node.name} died: {node.end()}. The end of {node.log}:\n{node.tail(TAIL_LINES)}"


def _report(plan: Plan, nodes: Sequence[NodeProcess], console: Console) -> None:
    """The table, the curves, and where everything lies."""
    # matplotlib takes seconds to import and starts threads; the nodes should not wait for that.
    from jaxswarm import curves

    reports = {node.name: read_reports(node.directory / METRICS_FILE) for node in nodes}
    console.print(end_table(nodes, reports))
    if any(report.stages for report in reports.values()):
        figure = plan.out / "curves.png"
        curves.draw(reports, figure)
        console.print(f"curves: {figure}", soft_wrap=True, highlight=False)
    console.print(
        f"TensorBoard: tensorboard --logdir {plan.out}\n"
        f"what they said: {plan.directory(0) / JOURNAL_FILE}, and so for the others",
        soft_wrap=True,
        highlight=False,
    )


def _check_override(flag: str) -> None:
    if not flag.startswith("--config.") or "=" not in flag:
        raise InputError(
            "command line",
            got=flag,
            expected="--nodes, --config, --out, or --config.a.b=value",
            remedy="see --help",
        )
    if flag.startswith(DIRECTORY):
        raise InputError(
            "command line", got=flag, expected="one directory for all nodes", remedy="use --out"
        )


def _seed(overrides: Sequence[str]) -> int:
    given = [flag.removeprefix(SEED) for flag in overrides if flag.startswith(SEED)]
    try:
        return int(given[-1]) if given else 0
    except ValueError:
        raise InputError(
            SEED.strip("-="), got=given[-1], expected="an integer", remedy="correct it"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
