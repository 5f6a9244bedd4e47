"""Where the launcher shows its nodes: a terminal, one that is none, a file, nobody."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from jaxswarm.launch.panel import end_table
from jaxswarm.launch.processes import NodeProcess
from jaxswarm.records import STAGES, Position
from jaxswarm.report.reports import Reports
from tests.launch.launchers import as_program, eventually
from tests.launch.stand_in_node import held_out, stage_report
from tests.terminals import Terminal

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")


@on_linux
def test_nodes_are_asked_and_waited_for_though_nobody_reads_what_the_launcher_says(
    tmp_path: Path, launcher: Callable[..., "subprocess.Popen[str]"]
):
    """As under `| tee`: Ctrl-C ends that one first."""
    process = launcher("--config.rounds=100000")
    assert eventually(lambda: all((tmp_path / f"node-{i}/status.json").exists() for i in range(3)))
    assert process.stdout
    process.stdout.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 1, "not all rounds are done"
    for index in range(3):
        assert json.loads((tmp_path / f"node-{index}/asked.json").read_text()) == [signal.SIGTERM]
        assert (tmp_path / f"node-{index}/summary.json").exists()
    assert (tmp_path / "curves.png").exists()


@on_linux
def test_under_nohup_a_closed_window_ends_nothing(
    tmp_path: Path, launcher: Callable[..., "subprocess.Popen[str]"]
):
    process = launcher("--config.rounds=12", ignores_hangups=True)
    assert eventually(lambda: all((tmp_path / f"node-{i}/status.json").exists() for i in range(3)))
    process.send_signal(signal.SIGHUP)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 0, shown
    assert not (tmp_path / "node-0/asked.json").exists()


def test_on_a_terminal_each_node_has_a_line_that_stays_in_place(tmp_path: Path):
    names = ("node-0", "node-1", "node-2")
    with Terminal(as_program(tmp_path, "--config.rounds=100000")) as window:

        def has_a_line(name: str) -> bool:
            lines = window.shown.splitlines()
            return any(name in line and "800 tokens/s" in line for line in lines)

        window.until(lambda: all(map(has_a_line, names)))
        window.process.send_signal(signal.SIGINT)
        assert window.end() == 1, "not all rounds are done"
    assert "starting (" in window.shown
    assert "\x1b[2K" in window.shown, "lines are rewritten"


def test_a_terminal_in_which_nothing_can_stay_in_place_gets_plain_lines(tmp_path: Path):
    with Terminal(as_program(tmp_path, "--config.rounds=8"), TERM="dumb") as window:
        assert window.end() == 0
    assert "node-0 | round " in window.shown
    assert "\x1b[2K" not in window.shown


def test_a_file_gets_plain_lines_whatever_is_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FORCE_COLOR", "1")
    done = subprocess.run(as_program(tmp_path), capture_output=True, text=True, check=True)
    assert "\x1b[2K" not in done.stdout
    assert "\x1b[?25l" not in done.stdout


@pytest.mark.parametrize("width", [160, 80])
def test_the_table_s_figures_are_whole_whatever_its_width(tmp_path: Path, width: int):
    nodes = [NodeProcess(["true"], tmp_path / f"node-{index}") for index in range(3)]
    places = [Position(round_, index) for round_ in range(128) for index in range(len(STAGES))]
    reports = Reports(
        stages=tuple(stage_report(place, seconds=1.0) for place in places),
        held_out=(held_out(0, 0.2917), held_out(128, 0.6667)),
    )
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as shown:
        console.print(end_table(nodes, {node.name: reports for node in nodes}, console))
    for node in nodes:
        assert eventually(lambda node=node: node.code == 0)
        assert f" {node.name} " in shown.get()
    for figure in ("128", "2048", "64.50", "1.00 → 128.00", "25% → 3200%", "29.2% → 66.7%", "768"):
        assert shown.get().count(f" {figure} ") >= len(nodes), figure
    assert max(map(len, shown.get().splitlines())) <= width
    assert "…" not in shown.get()
