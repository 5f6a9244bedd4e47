"""The launcher over real processes: `stand_in_node.py` takes the node's place, without a model."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from jaxswarm.errors import InputError
from jaxswarm.host.ending import SAME_REQUEST_S, UNUSABLE
from jaxswarm.launch import launcher as launcher_module
from jaxswarm.launch.__main__ import main
from jaxswarm.launch.launcher import launch
from jaxswarm.launch.plan import Plan, parse
from jaxswarm.launch.processes import NodeProcess
from jaxswarm.report import curves
from jaxswarm.report.rundir import NodeCard
from tests.launch.launchers import STAND_IN, eventually

PNG = b"\x89PNG\r\n\x1a\n"

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")


def run(out: Path, *overrides: str, nodes: int = 3) -> tuple[int, str]:
    """The exit code, and what was shown."""
    shown = io.StringIO()
    plan = Plan(nodes, "tiny.py", out, overrides=overrides, command=STAND_IN)
    return launch(plan, Console(file=shown, width=160)), shown.getvalue()


def flags_of(out: Path, index: int) -> dict[str, str]:
    return json.loads((out / f"node-{index}" / "flags.json").read_text())


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Whoever inherits it has yet to take it from the process table.
    return ") Z " not in Path(f"/proc/{pid}/stat").read_text()


def cards(out: Path) -> list[NodeCard]:
    found = (NodeCard.read(out / f"node-{index}") for index in range(3))
    return [card for card in found if card is not None]


def test_nodes_join_the_first_one_and_the_end_shows_what_each_did(tmp_path: Path):
    code, shown = run(tmp_path, "--config.rounds=2")
    assert code == 0
    assert ".swarm.initial_peers" not in flags_of(tmp_path, 0)
    for index in range(3):
        flags = flags_of(tmp_path, index)
        assert flags[".output.directory"] == str(tmp_path / f"node-{index}")
        assert flags[".seed"] == str(index)
        assert flags[".swarm.first_peers"] == "2"
        assert flags[".rounds"] == "2"
    for index in (1, 2):
        peers = flags_of(tmp_path, index)[".swarm.initial_peers"]
        assert peers == "/ip4/127.0.0.1/tcp/4001/p2p/node-0"

    rows = [line for line in shown.splitlines() if line.startswith("│ node-")]
    assert len(rows) == 3
    for index, row in enumerate(rows):
        # Rounds, questions, reward by stage; first and last round's reward and right answers;
        # held out, read, refused.
        cells = [cell.strip() for cell in row.strip("│").split("│")]
        figures = ["2", "32", "1.50", "1.50", "1.50", "1.00 → 2.00", "25% → 50%", "50.0% → 75.0%"]
        assert cells == [f"node-{index}", "finished", *figures, "12", "forged 1"]
    assert f"curves: {tmp_path / 'curves.png'}" in shown
    assert (tmp_path / "curves.png").read_bytes().startswith(PNG)
    assert "to go on" not in shown


def test_a_node_that_dies_is_named_with_its_last_words_and_the_others_go_on(tmp_path: Path):
    peers = "--config.swarm.initial_peers=/ip6/fd00:ab:1"
    code, shown = run(tmp_path, "--config.act=1:die", "--config.rounds=3", peers)
    assert code == 1
    assert "node-1 died: exit code 7" in shown
    assert "error: the disk is full" in shown
    rows = [line for line in shown.splitlines() if line.startswith("│ node-")]
    assert ["finished" in row for row in rows] == [True, False, True]
    assert "exit code 7" in rows[1]
    assert "1.00 → 1.00" in rows[1], "what it had reported before counts"
    again = f"{sys.executable} -m jaxswarm.launch --nodes 3 --config tiny.py --out {tmp_path} "
    assert (
        f"to go on where they stopped: {again}--config.act=1:die --config.rounds=3 {peers}" in shown
    )


def test_a_run_that_goes_on_waits_for_no_node_that_has_done_its_rounds(tmp_path: Path):
    run(tmp_path, "--config.act=1:die", "--config.rounds=3")
    assert flags_of(tmp_path, 1)[".swarm.first_peers"] == "2"
    code, _ = run(tmp_path, "--config.rounds=3")
    assert code == 0
    assert flags_of(tmp_path, 1)[".swarm.first_peers"] == "0"
    code, _ = run(tmp_path, "--config.rounds=4")
    assert code == 0
    assert flags_of(tmp_path, 1)[".swarm.first_peers"] == "2", "of a run made longer all play on"


def test_without_the_first_node_no_other_is_started(tmp_path: Path):
    code, shown = run(tmp_path, "--config.act=0:die_first")
    assert code == 1
    assert "node-0 died: exit code 1" in shown
    assert "error: no such model" in shown
    assert not (tmp_path / "node-1").exists()


def test_curves_that_find_no_room_cost_nothing_else(tmp_path: Path):
    (tmp_path / "curves.png").mkdir()
    code, shown = run(tmp_path, "--config.act=1:die", "--config.rounds=2")
    assert code == 1
    assert f"no curves: file {tmp_path / 'curves.png'}: got 'Is a directory'" in shown
    assert "to go on where they stopped: " in shown


def test_a_start_that_fails_leaves_everybody_s_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    drawn: list[list[str]] = []
    monkeypatch.setattr(curves, "draw", lambda nodes, _: drawn.append(sorted(nodes)))
    run(tmp_path)
    run(tmp_path, "--config.act=0:refuse")
    assert drawn == [["node-0", "node-1", "node-2"]] * 2


@pytest.mark.parametrize(("act", "ended"), [("die_first", 1), ("refuse", UNUSABLE)])
def test_where_no_stage_was_done_nothing_is_said_beside_how_each_node_ended(
    tmp_path: Path, act: str, ended: int
):
    code, shown = run(tmp_path, f"--config.act=0:{act}")
    assert code == ended
    first, died, last_words = shown.splitlines()
    assert first == f"3 nodes of tiny.py in {tmp_path}"
    assert died.startswith(f"node-0 died: exit code {ended}. The end of {tmp_path}/node-0/log.txt")
    assert last_words.startswith("error: ")


def test_one_node_that_can_t_use_what_it_was_given_does_not_speak_for_all(tmp_path: Path):
    code, shown = run(tmp_path, "--config.act=1:refuse", "--config.rounds=1")
    assert code == 1
    assert "│ node-1 │ exit code 2 │" in shown


def test_a_first_node_that_gives_no_address_for_long_is_told_of_once_and_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(launcher_module, "ADDRESS_OVERDUE_S", 1.0)
    code, shown = run(tmp_path, "--config.act=0:late")
    assert code == 0
    told = "node-0 has told no address to join by for 1 s; still waiting for it, its log: "
    assert shown.count(f"{told}{tmp_path}/node-0/log.txt") == 1
    assert "│ node-2 │ finished │" in shown


def test_what_an_earlier_run_left_does_not_pass_for_this_one(tmp_path: Path):
    assert run(tmp_path, "--config.rounds=1", nodes=1)[0] == 0
    code, shown = run(tmp_path, "--config.act=0:die_first", nodes=2)
    assert code == 1, "the old summary said finished"
    assert not (tmp_path / "node-1").exists(), "the old address leads nowhere"
    assert "│ node-0 │ exit code 1 │" in shown


def test_nodes_can_share_a_gpu_unless_the_user_says_how_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    name = "XLA_PYTHON_CLIENT_PREALLOCATE"
    command = [sys.executable, "-c", f"import os; print(os.environ[{name!r}])"]

    def told(directory: Path) -> str:
        node = NodeProcess(command, directory)
        assert eventually(lambda: node.code == 0)
        return node.tail(1)

    monkeypatch.delenv(name, raising=False)
    assert told(tmp_path / "node-0") == "false"
    monkeypatch.setenv(name, "true")
    assert told(tmp_path / "node-1") == "true"


def test_solo_nodes_have_no_address_and_wait_for_none(tmp_path: Path):
    code, _ = run(tmp_path, "--config.act=0:alone", "--config.rounds=1", nodes=2)
    assert code == 0
    assert ".swarm.initial_peers" not in flags_of(tmp_path, 1)


def test_initial_peers_of_the_user_go_to_every_node(tmp_path: Path):
    peers = "--config.swarm.initial_peers=/ip4/192.0.2.7/tcp/1"
    code, _ = run(tmp_path, peers, "--config.rounds=1", nodes=2)
    assert code == 0
    for index in (0, 1):
        assert flags_of(tmp_path, index)[".swarm.initial_peers"] == "/ip4/192.0.2.7/tcp/1"


@on_linux
def test_a_request_to_stop_reaches_each_node_once_and_is_waited_for(
    tmp_path: Path, launcher: Callable[..., "subprocess.Popen[str]"]
):
    process = launcher("--config.rounds=100000")
    assert eventually(lambda: len(cards(tmp_path)) == 3)
    assert eventually(lambda: all((tmp_path / f"node-{i}/status.json").exists() for i in range(3)))
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)  # at the same moment: one request
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    for index, card in enumerate(cards(tmp_path)):
        assert not alive(card.pid)
        assert json.loads((tmp_path / f"node-{index}/asked.json").read_text()) == [signal.SIGTERM]
        assert f"node-{index}: stopped" in shown


@on_linux
def test_asked_again_the_launcher_ends_even_a_deaf_node(
    tmp_path: Path, launcher: Callable[..., "subprocess.Popen[str]"]
):
    process = launcher("--config.act=2:deaf", "--config.rounds=100000")
    assert eventually(lambda: len(cards(tmp_path)) == 3)
    assert eventually(lambda: (tmp_path / "node-2/status.json").exists())
    process.send_signal(signal.SIGINT)
    assert eventually(lambda: (tmp_path / "node-1/asked.json").exists())
    assert process.poll() is None
    time.sleep(SAME_REQUEST_S)
    process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=60)
    assert "node-2: killed by SIGKILL" in shown
    assert not any(alive(card.pid) for card in cards(tmp_path))


@on_linux
def test_no_node_outlives_a_launcher_that_was_killed(
    tmp_path: Path, launcher: Callable[..., "subprocess.Popen[str]"]
):
    process = launcher("--config.rounds=100000")
    assert eventually(lambda: len(cards(tmp_path)) == 3)
    assert eventually(lambda: all((tmp_path / f"node-{i}/status.json").exists() for i in range(3)))
    process.kill()
    process.wait()
    assert eventually(lambda: not any(alive(card.pid) for card in cards(tmp_path)))


def test_the_command_line_says_what_to_start(tmp_path: Path):
    config = tmp_path / "mine.py"
    config.write_text("")
    plan = parse(["--nodes", "2", f"--config={config}", "--config.seed=7", "--config.a.b=c=d"])
    assert plan.nodes == 2
    assert plan.out.parent == Path("runs")
    assert plan.out.name.startswith("mine-2")
    assert plan.command_of(1, "/ip4/1.2.3.4/tcp/5", first_peers=1) == [
        sys.executable,
        "-m",
        "jaxswarm.main",
        f"--config={config}",
        f"--config.output.directory={plan.out / 'node-1'}",
        "--config.seed=8",
        "--config.swarm.first_peers=1",
        "--config.swarm.initial_peers=/ip4/1.2.3.4/tcp/5",
        "--config.a.b=c=d",
    ]
    assert parse([f"--config={config}:large", "--out", "here"]).directory(0) == Path("here/node-0")
    assert parse([f"--config={config}", "--out=~/here"]).out == Path.home() / "here"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nodes", "0"], "--nodes: got 0; expected at least 1"),
        (["--config", "nowhere.py"], "--config: got 'nowhere.py'; expected a config file"),
        (["--config.seed=often"], "config.seed: got 'often'; expected an integer"),
        (["--config.output.directory=x"], "use --out"),
        (["--node=3"], "command line: got '--node=3'"),
        (["three"], "command line: got 'three'"),
        (["--config.rounds", "3"], "command line: got '--config.rounds'"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
):
    config = tmp_path / "mine.py"
    config.write_text("")
    assert main([f"--config={config}", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


def test_a_directory_that_cant_be_made_is_one_clear_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        InputError, match="node-0: got 'Not a directory'; expected a file that can be written"
    ):
        run(tmp_path / "file")


def test_the_launcher_starts_fast_it_loads_neither_jax_nor_torch():
    code = (
        "import sys, jaxswarm.launch.__main__\n"
        "heavy = {'jax', 'torch', 'hivemind', 'transformers', 'tensorboardX', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
