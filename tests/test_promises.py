"""Every promise of the README names tests that are there, and that `make test-faults` runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATH = re.compile(r"tests/[\w/]+(?:\.py)?")
NAME = re.compile(r"\btest_\w+\b(?!\.py)")


@pytest.fixture(scope="module")
def named() -> str:
    """What the README says it survives."""
    text = (ROOT / "README.md").read_text()
    return text[text.index("## What it survives") : text.index("## Config keys")]


@pytest.fixture(scope="module")
def collected() -> str:
    """The tests that `make test-faults` runs."""
    command = [sys.executable, "-m", "pytest", "-m", "faults", "--collect-only"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_each_file_that_a_promise_names_is_run(named: str, collected: str) -> None:
    paths = set(PATH.findall(named))
    assert len(paths) > 20
    assert {path for path in paths if path not in collected} == set()


def test_each_test_that_a_promise_names_is_run(named: str, collected: str) -> None:
    names = set(NAME.findall(named))
    assert len(names) > 15
    assert names - set(NAME.findall(collected)) == set()
