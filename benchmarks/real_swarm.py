"""A swarm on real weights and real questions, by flags alone, and what each stage of it took.

    python -m benchmarks.real_swarm --model FILE.gguf --data DIR [--out DIR] [--config.a.b=c ...]

Two nodes, one round, two questions, G 4, completions of up to 128 tokens, over real p2p daemons on
loopback. Figures go to results/real_swarm.json. The nodes share this machine's cores.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import facts
from jaxswarm.report.reports import METRICS_FILE, StageReport, read_reports

FLAGS = (
    "--config.rounds=1",
    "--config.stages.questions=2",
    "--config.grpo.group=4",
    "--config.grpo.micro_batches=1",
    "--config.generation.limit=128",
    "--config.evaluation.questions=0",
    "--config.swarm.host_maddrs=/ip4/127.0.0.1/tcp/0",
    "--config.swarm.stage_deadline_s=1800",
    "--config.swarm.output_ttl_s=7200",
)


def main() -> int:
    """Returns the exit code of the swarm."""
    parser = argparse.ArgumentParser(description="A swarm on real weights.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=None)
    arguments, overrides = parser.parse_known_args()
    out = arguments.out or Path(tempfile.mkdtemp(prefix="real-swarm-"))
    flags = [
        f"--config.model.source={arguments.model}",
        f"--config.data.source={arguments.data}",
        *FLAGS,
        *overrides,
    ]
    began = time.monotonic()
    launch = [sys.executable, "-m", "jaxswarm.launch", f"--nodes={arguments.nodes}"]
    command = [*launch, "--config=configs/gsm8k.py", f"--out={out}", *flags]
    code = subprocess.run(command, check=False).returncode
    if code:
        return code
    nodes = {
        directory.name: [_stage(report) for report in read_reports(directory / METRICS_FILE).stages]
        for directory in sorted(out.glob("node-*"))
    }
    # Of the descendants that have ended, the largest: ru_maxrss is in KiB on Linux.
    peak_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
    path = facts.write(
        "real_swarm",
        {
            "model": Path(arguments.model).name,
            "flags": [*FLAGS, *overrides],
            "seconds": round(time.monotonic() - began, 1),
            "peak_memory_gb_of_largest_node": round(peak_gb, 2),
            "nodes": nodes,
        },
    )
    print(f"figures: {path}; what the nodes said: {out}/node-*/journal.jsonl")
    return 0


def _stage(report: StageReport) -> dict[str, object]:
    return {
        "stage": str(report.position.stage),
        "seconds_by_phase": {name: round(s, 1) for name, s in report.phase_seconds.items()},
        "tokens_per_s": round(report.tokens_per_s, 2),
        "completion_length": report.completion_length,
        "truncated_share": report.truncated_share,
        "reward": report.reward,
        "reward_parts": dict(report.reward_parts),
        "correct_rate": report.correct_rate,
        "format_rate": report.format_rate,
        "loss": report.loss,
        "grad_norm": report.grad_norm,
        "sampler_gap": report.sampler_gap,
        "outputs_read": report.outputs_read,
        "refused": dict(report.refused),
    }


if __name__ == "__main__":
    sys.exit(main())
