"""Real nodes of the embedded default, each in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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
