"""The fuzzer's own process, for benchmarks.fuzz: Atheris takes it over, and it ends there.

python -m benchmarks.fuzz_side REPORT LIBFUZZER-FLAG...
"""

import importlib
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import psutil

atheris: Any = importlib.import_module("atheris")  # of the extra `fuzz`; it has no types

with atheris.instrument_imports(include=["jaxswarm"]):
    from benchmarks.fuzz_target import Target, mutate

REPORT_EVERY = 20_000


def main(report: Path, flags: list[str]) -> None:
    """Fuzzes until libFuzzer's flags say that it is enough, and keeps `report` up to date."""
    target, process, began = Target(), psutil.Process(), time.monotonic()
    memory_mib: list[float] = []

    def one(data: bytes) -> None:
        target(data)
        if target.inputs % REPORT_EVERY == 0:
            memory_mib.append(round(process.memory_info().rss / 2**20, 1))
            figures = {
                "inputs": target.inputs,
                "seconds": round(time.monotonic() - began, 1),
                "memory_mib": {"first": memory_mib[0], "last": memory_mib[-1]},
                "outcomes": dict(sorted(target.outcomes.items())),
            }
            report.write_text(json.dumps(figures))

    def mutator(data: bytes, max_size: int, seed: int) -> bytes:
        draw = random.Random(seed)
        if draw.random() < 0.5:
            return mutate(data, draw)[:max_size]
        return atheris.Mutate(data, max_size)

    atheris.Setup([sys.argv[0], *flags], one, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
