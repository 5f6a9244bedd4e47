"""Foreign bytes, millions of them, against everything that reads a peer's bytes.

    python -m benchmarks.fuzz [--inputs 10000000] [--seconds 3600] [--seed 0] [--more]

Atheris (libFuzzer for Python, in the extra `fuzz`) drives it by the branches that an input
reaches in jaxswarm; half of its mutations are ours: they take a record apart and change one part,
so that what is malformed lies deep. Whatever a reader raises but a refusal ends the run and is
shown. Figures go to results/fuzz.json; with --more as one more run beside those that are there,
each with the facts of its own measurement.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks import facts
from benchmarks.fuzz_target import seeds

NAME = "fuzz"


def main() -> int:
    """Runs the fuzzer, prints the figures and writes them. 1 if it found a crash."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=int, default=3600, help="at most")
    parser.add_argument("--seed", type=int, default=0, help="another one finds other inputs")
    parser.add_argument("--more", action="store_true", help="keep the runs written before")
    flags = parser.parse_args()
    run = {"facts": facts.facts(), **_fuzz(flags.inputs, flags.seconds, flags.seed)}
    results = facts.RESULTS / f"{NAME}.json"
    before = json.loads(results.read_text()) if flags.more and results.exists() else {"runs": []}
    runs = [*(facts.kept(each, before) for each in before["runs"]), run]
    figures = {"inputs": sum(r["inputs"] for r in runs), "crashes": sum(r["crashed"] for r in runs)}
    outcomes: Counter[str] = Counter()
    for each in runs:
        outcomes.update(each["outcomes"])
    print(json.dumps(run, indent=2))
    print(facts.save(NAME, {**figures, "outcomes": dict(sorted(outcomes.items())), "runs": runs}))
    return int(run["crashed"])


def _fuzz(inputs: int, seconds: int, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        work, corpus = Path(temporary), Path(temporary) / "corpus"
        corpus.mkdir()
        for number, data in enumerate(seeds()):
            (corpus / f"seed-{number}").write_bytes(data)
        report = work / "report.json"
        flags = [f"-runs={inputs}", f"-max_total_time={seconds}", f"-seed={seed + 1}"]
        flags += ["-max_len=6000", "-timeout=10", "-rss_limit_mb=2048", f"-artifact_prefix={work}/"]
        command = [sys.executable, "-m", "benchmarks.fuzz_side", str(report), *flags, str(corpus)]
        done = subprocess.run(command, stderr=subprocess.PIPE, stdout=sys.stderr, text=True)
        crashed = done.returncode != 0
        if crashed:
            print(done.stderr[-4000:], file=sys.stderr)
        branches = re.findall(r"cov: (\d+)", done.stderr)
        kept = re.findall(r"corp: (\d+)", done.stderr)
        return {
            "seed": seed,
            "crashed": crashed,
            **json.loads(
                report.read_text() if report.exists() else '{"inputs": 0, "outcomes": {}}'
            ),
            "branches": {"first": int(branches[0]), "last": int(branches[-1])} if branches else {},
            "inputs_kept_for_new_branches": int(kept[-1]) if kept else 0,
        }


if __name__ == "__main__":
    sys.exit(main())
