"""What the launcher shows: a live line for each node, and the table at the end."""

import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Column, Table

from jaxswarm.launch.processes import NodeProcess
from jaxswarm.records import STAGES
from jaxswarm.report.reports import Reports
from jaxswarm.report.rundir import Summary
from jaxswarm.report.status import (
    UNBOUNDED,
    Lines,
    describe,
    duration,
    is_live,
    say_literally,
)
from jaxswarm.report.summary import summarise

PLAIN_EVERY_S = 10.0
"""How often each node's line is printed where there is no terminal."""

_TITLE = "What the nodes did. Rewards are means over completions."
_COLUMNS = (
    "node",
    "end",
    "rounds",
    "questions",
    *(f"reward\n{stage}" for stage in STAGES),
    "reward\nfirst → last\nround",
    "answers right\nfirst → last\nround",
    "held-out\nbefore → after",
    "outputs\nread",
    "refused",
)


class Panel:
    """The nodes' lines, kept in place on a terminal, printed now and then elsewhere."""

    def __init__(self, console: Console):
        self._console = console
        # No refresh thread: this process forks while the panel stands.
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._printed_at = time.time()

    def __enter__(self) -> "Panel":
        if is_live(self._console):
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
        if self._live.is_started:
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
        say_literally(self._console, text)


def end_table(
    nodes: Iterable[NodeProcess], reports: Mapping[str, Reports], console: Console
) -> Table:
    """What each node did in its run: one row a node, or one block where a row would not fit.

    Args:
      nodes: all ended.
      reports: what each has reported, by its name: they stand in for the summary of one that died.
      console: for which the table is made.
    """
    rows = []
    for node in nodes:
        summary = node.summary() or summarise(reports[node.name], finished=False)
        rows.append((node.name, node.end(), *_figures(summary)))
    table = _table(rows)
    needs = console.measure(table, options=console.options.update_width(UNBOUNDED)).minimum
    return table if needs <= console.width else _blocks(rows)


def _table(rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=_TITLE)
    for name, cells in zip(_COLUMNS, zip(*rows, strict=True), strict=True):
        wraps = name in ("end", "refused")
        table.add_column(
            name,
            justify="left" if name in ("node", "end") else "right",
            no_wrap=not wraps,
            # Else rich would cut figures where all columns together are too wide.
            min_width=None if wraps else max(map(len, [*name.split("\n"), *cells])),
        )
    for row in rows:
        table.add_row(*row)
    return table


def _blocks(rows: Sequence[Sequence[str]]) -> Table:
    table = Table("", Column(overflow="fold"), title=_TITLE, show_header=False)
    for row in rows:
        for name, cell in zip(_COLUMNS, row, strict=True):
            table.add_row(name.replace("\n", " "), cell)
        table.add_section()
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
    lines = Lines()
    for node in nodes:
        reading = node.reading()
        if reading is not None:
            lines.add(reading, now)
        else:
            lines.add_silent(node.name, _starting(node, now) if node.code is None else node.end())
    return lines


def _starting(node: NodeProcess, now: float) -> str:
    return f"starting ({duration(now - node.started_at)})"
