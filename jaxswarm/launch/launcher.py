"""Runs the nodes of a plan to their end: shows them, hears a person, tells what came of it."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from jaxswarm.host.ending import UNUSABLE
from jaxswarm.launch.panel import Panel, end_table
from jaxswarm.launch.plan import INITIAL_PEERS, Plan
from jaxswarm.launch.processes import KILL_AFTER_S, NodeProcess, Stop
from jaxswarm.report.files import unwritable
from jaxswarm.report.journal import JOURNAL_FILE
from jaxswarm.report.reports import METRICS_FILE, Reports, read_reports
from jaxswarm.report.rundir import Summary
from jaxswarm.report.status import duration, say_literally

ADDRESS_OVERDUE_S = 600.0
"""After so long without an address to join by, the first node's log is pointed to. It may still be
downloading a large model, so it is waited for."""

POLL_S = 0.25
TAIL_LINES = 15


def launch(plan: Plan, console: Console) -> int:
    """Runs the plan to its end and shows it.

    Returns:
      The exit code: 0 if all nodes have done all their rounds, 2 if what was given can be used by
      none that ran, else 1.

    Raises:
      InputError: the directory can't be written.
    """
    nodes: list[NodeProcess] = []
    stop = Stop()
    with stop.listening():
        with Panel(console) as panel:
            panel.say(f"{plan.nodes} nodes of {plan.config} in {plan.out}")
            try:
                _run(plan, _Watch(nodes, panel, stop))
            finally:
                for node in nodes:
                    node.kill()
        _report(plan, nodes, console)
    if len(nodes) == plan.nodes and all(node.finished for node in nodes):
        return 0
    return UNUSABLE if all(node.code == UNUSABLE for node in nodes) else 1


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

    def start(self, plan: Plan, index: int, address: str | None, first_peers: int) -> NodeProcess:
        directory = plan.directory(index)
        try:
            node = NodeProcess(plan.command_of(index, address, first_peers), directory)
        except OSError as error:
            raise unwritable(directory, error) from error
        self._nodes.append(node)
        return node

    def say(self, text: str) -> None:
        self._panel.say(text)

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
    first_peers = max(0, _unfinished(plan) - 1)
    first = watch.start(plan, 0, None, first_peers)
    elsewhere = any(flag.startswith(INITIAL_PEERS) for flag in plan.overrides)
    overdue = time.monotonic() + ADDRESS_OVERDUE_S
    while plan.nodes > 1 and not elsewhere and first.card() is None:
        if not watch.running():
            return
        if time.monotonic() > overdue and not watch.stopping:
            overdue = math.inf
            watch.say(
                f"{first.name} has told no address to join by for "
                f"{duration(ADDRESS_OVERDUE_S)}; still waiting for it, its log: {first.log}"
            )
    if not watch.stopping:
        card = first.card()
        address = card.addresses[0] if card and card.addresses and not elsewhere else None
        for index in range(1, plan.nodes):
            watch.start(plan, index, address, first_peers)
    while watch.running():
        pass


def _draw(plan: Plan, read: Mapping[str, Reports]) -> str:
    """Draws the curves of all nodes that have any, and says where they are or why they are not.

    `read`: the reports that are at hand, by node.
    """
    figure = plan.out / "curves.png"
    directories = [plan.directory(index) for index in range(plan.nodes)]
    try:
        found = {
            each.name: read.get(each.name) or read_reports(each / METRICS_FILE)
            for each in directories
        }
        # It takes seconds to import and starts threads; the nodes should not wait for that.
        from jaxswarm.report import curves

        curves.draw({name: reports for name, reports in found.items() if reports.stages}, figure)
    except OSError as error:
        return f"no curves: {unwritable(Path(error.filename or figure), error)}"
    return f"curves: {figure}"


def _unfinished(plan: Plan) -> int:
    """Nodes that have rounds to play. Of a run that goes on some may have done all of theirs."""
    return sum(not _is_done(plan.directory(index), plan.rounds) for index in range(plan.nodes))


def _is_done(directory: Path, rounds: int | None) -> bool:
    try:
        summary = Summary.read(directory)
    except OSError:  # the node itself will say so
        return False
    return summary is not None and summary.finished and summary.rounds >= (rounds or 0)


def _farewell(node: NodeProcess, *, with_log: bool) -> str:
    """What is said when a node has ended; with the end of its log where it died unasked."""
    if node.code == 0 or not with_log:
        return f"{node.name}: {node.end()}"
    return f"{node.name} died: {node.end()}. The end of {node.log}:\n{node.tail(TAIL_LINES)}"


def _report(plan: Plan, nodes: Sequence[NodeProcess], console: Console) -> None:
    """The table, the curves, and where everything lies; nothing where no stage was done."""
    reports = {node.name: read_reports(node.directory / METRICS_FILE) for node in nodes}
    if not any(report.stages for report in reports.values()):
        return
    console.print(end_table(nodes, reports, console))
    lines = [
        _draw(plan, reports),
        f"TensorBoard, if installed: tensorboard --logdir {plan.out}",
        f"what they said: {plan.directory(0) / JOURNAL_FILE}, and so for the others",
    ]
    if not all(node.finished for node in nodes):
        lines.append(f"to go on where they stopped: {plan.again()}")
    say_literally(console, "\n".join(lines))
