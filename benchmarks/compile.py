"""Seconds to make programs ready: cold, then from the persistent cache.

    python -m benchmarks.compile
    python -m benchmarks.compile --work cpu --peers tunix --peers-python PYTHON

By default all programs of the embedded default. A process of its own builds the learner as a node
does, and runs what a node runs: completions, a train step, held-out answers. JAX tells how long it
traced, lowered and compiled each program. The second process finds the first one's programs in the
cache. Figures go to results/compile.json.

Of a work of `benchmarks.works` it is what the first step takes longer than a later one, beside that
of libraries that compile as well. Figures go to results/compile-WORK.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import contest, facts, works
from benchmarks.work import Work

EMBEDDED = "embedded"
KINDS = ("cold", "cached")


def main() -> None:
    """Measures twice, prints a table and writes the figures."""
    summary = (__doc__ or "").splitlines()[0]
    flags = contest.parser(summary, (EMBEDDED, *works.WORKS), EMBEDDED).parse_args()
    if flags.work == EMBEDDED:
        print(facts.write("compile", _embedded()))
    else:
        _works(flags)


def _embedded() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="compile-") as cache:
        figures = {kind: _measure(cache) for kind in KINDS}
    for kind, found in figures.items():
        print(f"{kind}: {found['total_s']:.1f} s for {found['programs']} programs")
        for name, seconds in found["longest_s"].items():
            print(f"  {name:32} {seconds:6.2f}")
    return figures


def _works(flags: argparse.Namespace) -> None:
    sides = ["ours", *(peer for peer in contest.peers(flags) if peer == "tunix")]
    about = facts.asked()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="compile-") as temporary:
        for work in contest.asked_works(flags, about, Path(temporary), train=True):
            found = figures[work.name] = {
                side: _side(side, work, Path(temporary), flags.peers_python) for side in sides
            }
            print(work.name)
            for side, seconds in found.items():
                print(f"  {side:8}", *(f"{kind}: {value}" for kind, value in seconds.items()))
            # After each work: a command may be killed in the next one.
            print(facts.write(f"compile-{flags.work}", figures, about))


def _side(side: str, work: Work, directory: Path, peers_python: str) -> dict[str, Any]:
    """Seconds by kind, or why there are none."""
    python = contest.OWN_PYTHON if side == "ours" else peers_python
    environment = {
        "JAX_COMPILATION_CACHE_DIR": str(directory / f"cache-{work.name}-{side}"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    found: dict[str, Any] = {}
    for kind in KINDS:
        measured = contest.measure(side, work, directory, python, environment)
        if "skipped" in measured:
            return measured
        found[kind] = round(measured["first_s"] - measured["median_s"]["step"], 1)
    return found


def _measure(cache: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.sides.compiling", cache]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
