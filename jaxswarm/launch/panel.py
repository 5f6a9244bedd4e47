"""What the launcher shows: a live line for each node, and the table at the end."""

import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table

from jaxswarm.launch.processes import NodeProcess
from jaxswarm.records import STAGES
from jaxswarm.report.reports import Reports
from jaxswarm.report.rundir import Summary
from jaxswarm.report.status import add_line, describe, duration, new_grid
from jaxswarm.report.summary import summarise

PLAIN_EVERY_S = 10.0
"""How often each node's line is printed where there is no terminal."""


class Panel:
    """The nodes' lines, kept in place on a terminal, printed now and then elsewhere."""

    def __init__(self, console: Console):
        self._console = console
        # No refresh thread: this process forks while the panel stands.
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._printed_at = time.time()

    def __enter__(self) -> "Panel":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, nodes: Sequence[NodeProcess]) -> None:
        """Call it several times a second."""
        now = time.time()
        if self._console.is_terminal:
            self._live.update(_lines(nodes, now), refresh=True)
        elif now - self._printed_at >= PLAIN_EVERY_S:
            self._printed_at = now
            for node in nodes:
                reading = node.reading()
                if reading is not None:
                    self.say(describe(reading, now))
                elif node.code is None:
                    self.say(f"{node.name} | {_starting(node, now)}")

    def say(self, text: str) -> None:
        """Prints a message that stays."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def end_table(nodes: Iterable[NodeProcess], reports: Mapping[str, Reports]) -> Table:
    """What each node did in its run, one row a node.

    Args:
      nodes: all ended.
      reports: what each has reported, by its name: they stand in for the summary of one that died.
    """
    table = Table(title="What the nodes did. Rewards are means over completions.")
    table.add_column("node", no_wrap=True)
    table.add_column("end")
    stages = [f"reward\n{stage}" for stage in STAGES]
    first_last = [f"{figure}\nfirst → last\nround" for figure in ("reward", "answers right")]
    first_last.append("held-out\nbefore → after")
    for name in ["rounds", "questions", *stages, *first_last, "outputs\nread", "refused"]:
        table.add_column(name, justify="right")
    for node in nodes:
        summary = node.summary() or summarise(reports[node.name], finished=False)
        table.add_row(node.name, node.end(), *_figures(summary))
    return table


def _figures(summary: Summary) -> list[str]:
    reward, refused = summary.mean_reward, summary.refused
    by_reason = ", ".join(f"{reason} {n}" for reason, n in sorted(refused.items()) if n)
    return [
        str(summary.rounds),
        str(summary.questions),
        *(f"{reward[stage]:.2f}" if stage in reward else "-" for stage in STAGES),
        _change(summary.first_round_reward, summary.last_round_reward, ".2f"),
        _change(summary.first_round_right, summary.last_round_right, ".0%"),
        _change(summary.held_out_before, summary.held_out_after, ".1%"),
        str(summary.outputs_read),
        by_reason or "0",
    ]


def _change(before: float | None, after: float | None, form: str) -> str:
    return " → ".join("-" if value is None else format(value, form) for value in (before, after))


def _lines(nodes: Iterable[NodeProcess], now: float) -> RenderableType:
    grid = new_grid()
    for node in nodes:
        reading = node.reading()
        if reading is not None:
            add_line(grid, reading, now)
        else:
            grid.add_row("", node.name, _starting(node, now) if node.code is None else node.end())
    return grid


def _starting(node: NodeProcess, now: float) -> str:
    return f"starting ({duration(now - node.started_at)})"
