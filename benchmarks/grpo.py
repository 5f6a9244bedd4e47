"""One GRPO step on the same work, here and in other libraries: time, tokens/s, memory.

    python -m benchmarks.grpo --model SRC --data DIR [--sides ours hf_generate]

The defaults are a step as a small machine has it: one GSM8K question, 8 completions of exactly 128
tokens at temperature 1, AdamW, a reference model in memory (beta 0.001), float32. Each side is a
module of `benchmarks.sides` and runs in a process of its own, one after the other; a side that
can't run here is left out with its reason. trl_step and tunix_step need the extra `peers`, which
constraints.txt does not allow (Tunix wants safetensors<0.8): give it an environment of its own, and
name its python by --peers-python. Figures go to results/grpo-NAME.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import facts
from benchmarks.parity import answer_prompts
from benchmarks.sides.work import Work

PEERS = ("trl_step", "tunix_step")
"""Sides whose packages may be in another environment."""
SIDES = ("ours", "hf_generate", *PEERS)


def main() -> None:
    """Runs the sides, prints a table and writes the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="as --config.model.source takes it")
    parser.add_argument("--data", required=True, help="GSM8K, as --config.data.source takes it")
    parser.add_argument("--sides", nargs="+", default=SIDES, choices=SIDES)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--questions", type=int, default=1)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--beta", type=float, default=0.001)
    parser.add_argument("--micro-batches", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--no-train", action="store_true", help="completions alone")
    parser.add_argument("--name", default="step", help="of the file of figures")
    parser.add_argument("--peers-python", default=sys.executable, help="runs " + ", ".join(PEERS))
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="grpo-") as temporary:
        directory = Path(temporary)
        model = directory / "model"
        convert = ["--source", flags.model, "--target", str(model), "--format", "hf"]
        command = [sys.executable, "-m", "tools.convert_weights", *convert, "--dtype", flags.dtype]
        subprocess.run(command, check=True)
        work = Work(
            model=str(model),
            dtype=flags.dtype,
            prompts=answer_prompts(model, flags.data, flags.questions),
            group=flags.group,
            new_tokens=flags.new_tokens,
            beta=flags.beta,
            learning_rate=1e-6,
            micro_batches=flags.micro_batches,
            repeats=flags.repeats,
            train=not flags.no_train,
        )
        work.write(directory)
        measured = {}
        for side in flags.sides:
            python = flags.peers_python if side in PEERS else sys.executable
            measured[side] = _measure(side, python, directory)
    figures = {
        "model": Path(flags.model).name,
        "dtype": work.dtype,
        "prompt_tokens": [len(prompt) for prompt in work.prompts],
        "group": work.group,
        "new_tokens": work.new_tokens,
        "beta": work.beta,
        "micro_batches": work.micro_batches,
        "sides": measured,
    }
    _show(work, measured)
    print(facts.write(f"grpo-{flags.name}", figures))


def _measure(side: str, python: str, directory: Path) -> dict[str, Any]:
    """What a side measured; or why it could not, by the last line that it said."""
    print(side, file=sys.stderr)
    command = [python, "-m", f"benchmarks.sides.{side}", str(directory)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    result = directory / f"{side}.json"
    if done.returncode == 0 and result.exists():
        return json.loads(result.read_text())
    said = done.stderr.strip().splitlines()
    return {"skipped": f"exit code {done.returncode}: {said[-1] if said else 'nothing said'}"}


def _show(work: Work, measured: dict[str, dict[str, Any]]) -> None:
    print(f"{len(work.prompts)} questions x {work.group} x {work.new_tokens} tokens, {work.dtype}")
    print("  side          first s  generate s  tokens/s    step s  peak GB")
    for side, figures in measured.items():
        if "skipped" in figures:
            print(f"  {side:12}  {figures['skipped']}")
            continue
        generate = statistics.median(figures["generate_s"])
        step = statistics.median(figures["step_s"]) if figures["step_s"] else float("nan")
        print(
            f"  {side:12}  {figures['first_s']:7.1f}  {generate:10.2f}"
            f"  {work.tokens / generate:8.1f}  {step:8.2f}  {figures['peak_gb']:7.2f}"
        )


if __name__ == "__main__":
    main()
