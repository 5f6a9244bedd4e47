"""Sides of a benchmark one after the other, each in a process of its own, and what they make."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks import works
from benchmarks.work import Work, medians

PEERS = ("trl", "tunix", "transformers")
OWN_PYTHON = sys.executable


def parser(
    description: str, choices: Sequence[str] = works.WORKS, default: str = "cpu"
) -> argparse.ArgumentParser:
    """The flags that the benchmarks share. `choices` and `default`: of --work."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--work", default=default, choices=choices)
    made.add_argument("--peers", default="", help="separated by commas: " + ", ".join(PEERS))
    made.add_argument("--model", default="", help="as tools.convert_weights takes it; else random")
    made.add_argument("--data", default="", help="GSM8K, as --config.data.source takes it")
    made.add_argument("--repeats", type=int, default=2)
    made.add_argument("--recompute", action="store_true", help="layers, in the backward pass")
    made.add_argument("--peers-python", default=OWN_PYTHON, help="has the extra `peers`")
    return made


def peers(flags: argparse.Namespace) -> list[str]:
    named = [name.strip() for name in flags.peers.split(",") if name.strip()]
    for name in named:
        if name not in PEERS:
            raise SystemExit(f"error: --peers: got {name!r}; expected some of {', '.join(PEERS)}")
    return named


def measure(
    side: str,
    work: Work,
    directory: Path,
    python: str = OWN_PYTHON,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """What a side measured; or why it could not, by the last line that it said on stderr.

    `environment`: variables that its process is given beside this one's.
    """
    print(f"{work.name}: {side}", file=sys.stderr)
    work.write(directory)
    module = f"{side}_peer" if side in PEERS else side  # none has the name of what it imports
    command = [python, "-m", f"benchmarks.sides.{module}", str(directory)]
    said = "nothing said"
    # Else JAX's last line would not be the error, but a note of what it has left out.
    plain = {"JAX_TRACEBACK_FILTERING": "off"}
    with subprocess.Popen(
        command, env={**os.environ, **plain, **environment}, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        for line in process.stderr:
            sys.stderr.write(line)
            said = line.strip() or said
    result = directory / f"{module}.json"
    if process.returncode == 0 and result.exists():
        figures = json.loads(result.read_text())
        return figures | {"median_s": medians(figures)}
    if process.returncode < 0:
        return {"skipped": f"killed by signal {-process.returncode}"}
    return {"skipped": f"exit code {process.returncode}: {said}"}


def ratio(ours: dict[str, Any], other: dict[str, Any], figure: str) -> float | None:
    """Our median time, of "generate" or "step", over another side's; None where one has none."""
    mine, theirs = (side.get("median_s", {}).get(figure) for side in (ours, other))
    return mine / theirs if mine and theirs else None


def asked_works(
    flags: argparse.Namespace, about: Mapping[str, Any], directory: Path, *, train: bool
) -> list[Work]:
    """The works that the flags ask for, as they are on this machine. `about`: its facts."""
    return works.works(
        flags.work,
        directory,
        on_accelerator=about["device"] != "cpu",
        train=train,
        recompute=flags.recompute,
        repeats=flags.repeats,
        model=flags.model,
        data=flags.data,
    )


def compared(work: Work, sides: dict[str, dict[str, Any]], figure: str) -> dict[str, Any]:
    """What the sides measured, ours first, and our time over each other's."""
    ours = sides["ours"]
    others = {side: found for side, found in sides.items() if side != "ours"}
    time_over = {side: ratio(ours, found, figure) for side, found in others.items()}
    return {"time_over": time_over, "tokens": work.tokens, "sides": sides}


def show(name: str, figures: dict[str, Any], figure: str) -> None:
    """Prints a table of `compared`; tokens/s are those of `figure`."""
    print(f"{name}: {figures['tokens']} tokens")
    print("  side          first s  generate s    step s  tokens/s  ours takes  peak GB")
    for side, found in figures["sides"].items():
        if "skipped" in found:
            print(f"  {side:12}  {found['skipped']}")
            continue
        seconds = found["median_s"]
        times = figures["time_over"].get(side)
        print(
            f"  {side:12}  {found['first_s']:7.1f}  {seconds['generate']:10.2f}"
            f"  {seconds.get('step', float('nan')):8.2f}"
            f"  {figures['tokens'] / seconds[figure]:8.1f}"
            f"  {'' if times is None else f'{times:.2f} of it':>10}  {found['peak_gb']:7.2f}"
        )
    profile = figures["sides"]["ours"].get("profile", {})
    whole_s = sum(profile.values())
    for part, seconds in profile.items():
        print(f"  {part:12}  {seconds / whole_s:7.1%} of our time")
