"""Sides of a benchmark one after the other, each in a process of its own, and what they make."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import works
from benchmarks.work import Work, medians

PEERS = ("trl", "tunix", "transformers")
OWN_PYTHON = sys.executable


def parser(description: str) -> argparse.ArgumentParser:
    """The flags that the benchmarks share."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--work", default="cpu", choices=works.WORKS)
    made.add_argument("--peers", default="", help="separated by commas: " + ", ".join(PEERS))
    made.add_argument("--model", default="", help="as tools.convert_weights takes it; else random")
    made.add_argument("--data", default="", help="GSM8K, as --config.data.source takes it")
    made.add_argument("--repeats", type=int, default=2)
    made.add_argument("--peers-python", default=OWN_PYTHON, help="has the extra `peers`")
    return made


def peers(flags: argparse.Namespace) -> list[str]:
    named = [name.strip() for name in flags.peers.split(",") if name.strip()]
    for name in named:
        if name not in PEERS:
            raise SystemExit(f"error: --peers: got {name!r}; expected some of {', '.join(PEERS)}")
    return named


def measure(side: str, work: Work, directory: Path, python: str = OWN_PYTHON) -> dict[str, Any]:
    """What a side measured; or why it could not, by the last line that it said."""
    print(f"{work.name}: {side}", file=sys.stderr)
    work.write(directory)
    module = f"{side}_peer" if side in PEERS else side  # none has the name of what it imports
    command = [python, "-m", f"benchmarks.sides.{module}", str(directory)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    result = directory / f"{module}.json"
    if done.returncode == 0 and result.exists():
        figures = json.loads(result.read_text())
        return figures | {"median_s": medians(figures)}
    said = [line for line in done.stderr.splitlines() if line.strip()]
    if done.returncode < 0:
        return {"skipped": f"killed by signal {-done.returncode}"}
    return {"skipped": f"exit code {done.returncode}: {said[-1] if said else 'nothing said'}"}


def ratio(ours: dict[str, Any], other: dict[str, Any], figure: str) -> float | None:
    """Our median time, of "generate" or "step", over another side's; None where one has none."""
    mine, theirs = (side.get("median_s", {}).get(figure) for side in (ours, other))
    return mine / theirs if mine and theirs else None
