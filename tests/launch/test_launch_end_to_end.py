"""The launcher with real nodes: embedded model, real p2p daemons on loopback, three processes."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psutil
import pytest

from jaxswarm.records import STAGES, Position
from jaxswarm.report.journal import JOURNAL_FILE, JournalState, read_journal
from jaxswarm.report.reports import METRICS_FILE, read_reports
from jaxswarm.report.rundir import NodeCard, Summary

NODES = 3


def launch(out: Path, rounds: int, *more: str) -> str:
    flags = ["--config", "configs/tiny.py", "--out", str(out), f"--config.rounds={rounds}", *more]
    done = subprocess.run(
        [sys.executable, "-m", "jaxswarm.launch", "--nodes", str(NODES), *flags],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"XLA_FLAGS": ""},  # without the devices that the other tests simulate
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def card(directory: Path) -> NodeCard:
    found = NodeCard.read(directory)
    assert found is not None
    return found


def journal(directory: Path) -> JournalState:
    path = directory / JOURNAL_FILE
    return read_journal(path, own=card(directory).peer, since=Position(0, 0))


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_three_nodes_do_their_rounds_together_and_the_same_command_goes_on(tmp_path: Path):
    shown = launch(tmp_path, rounds=2)
    directories = [tmp_path / f"node-{index}" for index in range(NODES)]
    peers = [card(directory).peer for directory in directories]
    assert len(set(peers)) == NODES

    for directory in directories:
        summary = Summary.read(directory)
        assert summary is not None
        assert summary.finished
        assert set(summary.mean_reward) == set(STAGES)
        assert summary.held_out_before is not None
        assert summary.held_out_after is not None
        assert sum(summary.refused.values()) == 0
        assert list(directory.glob("events.out.tfevents.*"))
        assert not psutil.pid_exists(card(directory).pid)
        assert f"│ {directory.name} │ finished │" in shown
    assert (tmp_path / "curves.png").stat().st_size > 10_000

    said = {peer: journal(directory) for peer, directory in zip(peers, directories, strict=True)}
    for hearer in peers:
        heard = {(o.peer, at): o for at, outputs in said[hearer].received.items() for o in outputs}
        # All three play the last round together, whenever each has joined.
        for speaker in set(peers) - {hearer}:
            assert {(speaker, Position(1, index)) for index in range(3)} <= set(heard)
        for (speaker, position), output in heard.items():
            assert output == said[speaker].published[position], "word for word"

    launch(tmp_path, rounds=3)
    assert [card(directory).peer for directory in directories] == peers
    for directory in directories:
        summary = Summary.read(directory)
        assert summary is not None
        assert summary.finished
        reports = read_reports(directory / METRICS_FILE)
        assert [r.position for r in reports.stages][-3:] == [Position(2, i) for i in range(3)]
        seconds = [report.seconds for report in reports.stages]
        assert seconds == sorted(seconds), "x goes on"
        lines = [json.loads(line) for line in (directory / JOURNAL_FILE).read_text().splitlines()]
        own = Counter((n["round"], n["stage"]) for n in lines if n["kind"] == "published")
        assert set(own.values()) == {1}, "nothing is published twice"


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_three_nodes_share_rollouts_and_learn_from_each_other_s(tmp_path: Path):
    launch(tmp_path, 4, "--config.swarm.mode=sharing", "--config.evaluation.questions=0")
    directories = [tmp_path / f"node-{index}" for index in range(NODES)]
    said = {card(directory).peer: journal(directory) for directory in directories}
    for directory in directories:
        stages = read_reports(directory / METRICS_FILE).stages
        assert [report.position for report in stages] == [
            Position(round_, 0) for round_ in range(4)
        ]
        assert stages[0].peers == NODES - 1
        assert sum(report.external for report in stages) > 0
        lines = [json.loads(line) for line in (directory / JOURNAL_FILE).read_text().splitlines()]
        heard = [line for line in lines if line["kind"] == "offered"]
        assert heard
        for line in heard:
            theirs = said[line["peer"]].published[Position(line["round"], 0)]
            texts = [reply["text"] for reply in line["replies"]]
            assert texts == [reply.text for reply in theirs.replies], "word for word"
