"""Real nodes of the embedded default, and the launcher, each in a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.launch.launchers import as_program

ROOT = Path(__file__).parents[2]

Launch = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Starts a node by its output directory, a log and flags; ends what runs with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def node(directory: Path, log: Path, *flags: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "jaxswarm.main", "--config=configs/tiny.py", *flags]
        command.append(f"--config.output.directory={directory}")
        with log.open("ab") as said:
            env = os.environ | {"XLA_FLAGS": ""}  # without the eight devices of other tests
            started.append(subprocess.Popen(command, cwd=ROOT, env=env, stdout=said, stderr=said))
        return started[-1]

    yield node
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts the launcher as a process of its own; ends it with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*overrides: str, ignores_hangups: bool = False) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            as_program(tmp_path, *overrides),
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=(lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
            if ignores_hangups
            else None,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
