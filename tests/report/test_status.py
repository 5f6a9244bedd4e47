import io
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from jaxswarm.errors import InputError
from jaxswarm.records import Position
from jaxswarm.report import status as status_module
from jaxswarm.report.status import (
    STATUS_FILE,
    Lines,
    Reading,
    Status,
    StatusLine,
    describe,
    duration,
    read_reading,
)
from tests.terminals import ROOT, Terminal

STATUS = Status(
    node="node-0",
    position=Position(1, 1),
    rounds=5,
    phase="generate",
    progress=0.45,
    eta_s=20.0,
    peers=2,
    tokens_per_s=811.7,
    reward=1.931,
)


def plain() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=40), out


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(width: int = 120) -> tuple[Console, io.StringIO]:
    out = Tty()
    return Console(file=out, width=width, force_terminal=True), out


def at(status: Status, *, said_at: float, phase_began_at: float) -> Reading:
    return Reading(status=status, pid=1, said_at=said_at, phase_began_at=phase_began_at)


def test_a_line_says_all_that_a_person_asks_and_its_times_run_on():
    reading = at(replace(STATUS, progress=0.5), said_at=100.0, phase_began_at=95.0)
    assert describe(reading, now=108.0) == (
        "node-0 | round 2/5 critique | 70% | generate (13 s) | ETA 12 s"
        " | 2 peers | 812 tokens/s | reward 1.93"
    )


def test_what_is_not_known_yet_is_left_out():
    unknown = replace(STATUS, rounds=None, eta_s=None, peers=1, tokens_per_s=None, reward=None)
    reading = at(unknown, said_at=0.0, phase_began_at=0.0)
    assert describe(reading, now=0.0) == "node-0 | round 2 critique | 45% | generate (0 s) | 1 peer"


def test_a_late_stage_is_never_done_and_has_no_negative_time_left():
    late = describe(at(STATUS, said_at=0.0, phase_began_at=0.0), now=99.0)
    assert "| 99% |" in late
    assert "| ETA 0 s |" in late


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599.6, "1 h 0 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_spans_of_time_read_as_people_say_them(seconds: float, text: str):
    assert duration(seconds) == text


def test_status_json_says_what_was_last_said_and_since_when(tmp_path: Path):
    console, _ = plain()
    with StatusLine(tmp_path, console=console) as line:
        line.update(STATUS)
        began = read_reading(tmp_path / STATUS_FILE)
        line.update(replace(STATUS, progress=0.5))
        line.update(replace(STATUS, progress=0.6))
        same_phase = read_reading(tmp_path / STATUS_FILE)
        line.update(replace(STATUS, phase="train"))
        next_phase = read_reading(tmp_path / STATUS_FILE)
    assert began is not None
    assert same_phase is not None
    assert next_phase is not None
    assert same_phase.status == replace(STATUS, progress=0.6)
    assert same_phase.pid == os.getpid()
    assert same_phase.phase_began_at == began.phase_began_at
    assert same_phase.said_at > began.said_at
    assert next_phase.phase_began_at == next_phase.said_at > began.phase_began_at


def test_a_status_of_another_version_is_none(tmp_path: Path):
    path = tmp_path / STATUS_FILE
    assert read_reading(path) is None
    path.write_text(json.dumps({"node": "x", "mood": "good"}))
    assert read_reading(path) is None


def test_what_is_said_can_be_copied_as_it_is(tmp_path: Path):
    out = io.StringIO()
    console = Console(file=out, width=20, force_terminal=True, no_color=True)
    out.isatty = lambda: True
    command = "join by: python -m jaxswarm.main --peers=/ip6/fd00:ab:bed::1/tcp/1/p2p/Qm " * 2
    with StatusLine(tmp_path, console=console) as line:
        assert line._live is not None
        line.say(command)
    assert command in out.getvalue()


def test_without_a_terminal_each_phase_is_one_unbroken_line(tmp_path: Path):
    console, out = plain()
    with StatusLine(tmp_path, console=console) as line:
        for progress in (0.1, 0.2, 0.3):
            line.update(replace(STATUS, progress=progress))
        line.say("node-1 has [joined]")
        line.update(replace(STATUS, phase="train"))
        line.update(replace(STATUS, phase="train", position=Position(1, 2)))
    lines = out.getvalue().splitlines()
    assert [text.split(" ", 1)[1][:35] for text in lines] == [
        "node-0 | round 2/5 critique | 10% |",
        "node-1 has [joined]",
        "node-0 | round 2/5 critique | 45% |",
        "node-0 | round 2/5 resolve | 45% | ",
    ]
    assert "\x1b" not in out.getvalue()


def test_without_a_terminal_a_long_phase_says_that_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(status_module, "PLAIN_EVERY_S", 0.0)
    console, out = plain()
    with StatusLine(tmp_path, console=console) as line:
        line.update(STATUS)
        deadline = time.monotonic() + 20
        while out.getvalue().count("generate (") < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert out.getvalue().count("generate (") >= 2


def test_on_a_terminal_the_line_stays_in_place_with_messages_above_it(tmp_path: Path):
    console, out = terminal()
    with StatusLine(tmp_path, console=console) as line:
        line.update(STATUS)
        line.say("node-1 has [joined]")
        deadline = time.monotonic() + 20
        while "generate" not in out.getvalue() and time.monotonic() < deadline:
            time.sleep(0.05)
    text = out.getvalue()
    assert "node-1 has [joined]" in text
    assert "round 2/5 critique" in text
    assert "\r\x1b[2K" in text, "the line is rewritten, not repeated"
    assert text.endswith("\x1b[?25h\r\x1b[1A\x1b[2K"), "the cursor is back, the line is gone"


SAYS = """
import sys
from pathlib import Path
from jaxswarm.records import Position
from jaxswarm.report.status import StatusLine
from tests.launch.stand_in_node import status_of

with StatusLine(Path(sys.argv[1])) as line:
    line.update(status_of("node-0", Position(1, 1), 5))
    line.say("node-1 has joined")
"""
LINE = "node-0 | round 2/5 critique | 50% | generate"


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"TERM": "unknown"}, {"TTY_INTERACTIVE": "0"}])
def test_a_terminal_in_which_no_line_can_stay_in_place_gets_plain_ones(
    tmp_path: Path, env: dict[str, str]
):
    with Terminal([sys.executable, "-c", SAYS, str(tmp_path)], **env) as window:
        assert window.end() == 0
    assert LINE in window.shown
    assert "node-1 has joined" in window.shown
    assert "\x1b" not in window.shown


def test_a_log_has_plain_lines_alone_though_colours_are_forced(tmp_path: Path):
    """As the nodes' logs have, which the launcher starts with its own environment."""
    done = subprocess.run(
        [sys.executable, "-c", SAYS, str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"FORCE_COLOR": "1", "TERM": "xterm-256color"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert LINE in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("width", [160, 80, 50])
def test_a_node_s_name_round_and_phase_are_read_whatever_the_width(width: int):
    console, _ = terminal(width)
    lines = Lines()
    for name in ("node-0", "node-1", "node-2"):
        reading = at(replace(STATUS, node=name, phase="train"), said_at=0.0, phase_began_at=0.0)
        lines.add(reading, now=0.0)
    lines.add_silent("node-3", "starting (3 s)")
    with console.capture() as shown:
        console.print(lines)
    rows = shown.get().splitlines()
    assert len(rows) == 4
    for index, row in enumerate(rows):
        assert f"node-{index} " in row
        assert "starting (3 s)" in row if index == 3 else "round 2/5 critique" in row
        assert index == 3 or "train" in row
        assert len(Text.from_ansi(row)) <= width


def test_a_run_directory_that_cant_be_written_is_said_clearly(tmp_path: Path):
    (tmp_path / "file").write_text("")
    console, _ = plain()
    with (
        StatusLine(tmp_path / "file", console=console) as line,
        pytest.raises(InputError, match=r"status\.json: got '(Not a directory|File exists)'"),
    ):
        line.update(STATUS)
