"""Seconds to make all programs of the embedded default ready: cold, then from the cache.

    python -m benchmarks.compile

A process of its own builds the learner as a node does, and runs what a node runs: completions, a
train step, held-out answers. JAX tells how long it traced, lowered and compiled each program. The
second process finds the first one's programs in the persistent cache. Figures go to
results/compile.json.
"""

import json
import subprocess
import sys
import tempfile
from typing import Any

from benchmarks import facts


def main() -> None:
    """Measures twice, prints a table and writes the figures."""
    with tempfile.TemporaryDirectory(prefix="compile-") as cache:
        figures = {kind: _measure(cache) for kind in ("cold", "cached")}
    for kind, found in figures.items():
        print(f"{kind}: {found['total_s']:.1f} s for {found['programs']} programs")
        for name, seconds in found["longest_s"].items():
            print(f"  {name:32} {seconds:6.2f}")
    print(facts.write("compile", figures))


def _measure(cache: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.sides.compiling", cache]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
