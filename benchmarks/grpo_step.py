"""One whole GRPO step, completions and update: time, tokens/s and memory, beside other libraries.

    python -m benchmarks.grpo_step --work cpu --peers trl,tunix --model SRC --data DIR
    python -m benchmarks.grpo_step --work gpu
    python -m benchmarks.grpo_step --work var

As `benchmarks.generate`; "var" is measured with completions packed for training and without.
Figures go to results/grpo_step-WORK.json.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import contest, facts, works


def main() -> None:
    """Measures, prints a table and writes the figures."""
    flags = contest.parser((__doc__ or "").splitlines()[0]).parse_args()
    peers = [peer for peer in contest.peers(flags) if peer != "transformers"]  # it has no update
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="grpo-step-") as temporary:
        directory = Path(temporary)
        for work in works.works(
            flags.work,
            directory,
            on_gpu=facts.backend() == "gpu",
            train=True,
            repeats=flags.repeats,
            model=flags.model,
            data=flags.data,
        ):
            sides = {"ours": contest.measure("ours", work, directory)}
            if work.is_even:
                for peer in peers:
                    sides[peer] = contest.measure(peer, work, directory, flags.peers_python)
            else:
                sides["unpacked"] = contest.measure("ours", replace(work, compact=False), directory)
            figures[work.name] = _compared(sides) | {"tokens": work.tokens, "sides": sides}
            _show(work.name, figures[work.name])
    print(facts.write(f"grpo_step-{flags.work}", figures))


def _compared(sides: dict[str, dict[str, Any]]) -> dict[str, Any]:
    ours = sides["ours"]
    found: dict[str, Any] = {
        "time_over": {
            side: contest.ratio(ours, figures, "step")
            for side, figures in sides.items()
            if side != "ours"
        }
    }
    rates = ours.get("rates", {})
    if "train_s" in rates:
        found["mfu"] = rates["train_flops"] / rates["train_s"] / rates["flops_per_s"]
    return found


def _show(name: str, figures: dict[str, Any]) -> None:
    print(f"{name}: {figures['tokens']} tokens generated and learnt from")
    print("  side      first s  generate s    step s  tokens/s  ours takes  peak GB")
    for side, found in figures["sides"].items():
        if "skipped" in found:
            print(f"  {side:8}  {found['skipped']}")
            continue
        seconds = found["median_s"]
        times = figures["time_over"].get(side)
        print(
            f"  {side:8}  {found['first_s']:7.1f}  {seconds['generate']:10.2f}"
            f"  {seconds['step']:8.2f}  {figures['tokens'] / seconds['step']:8.1f}"
            f"  {'' if times is None else f'{times:.2f} of it':>10}  {found['peak_gb']:7.2f}"
        )
    if "mfu" in figures:
        print(f"  the update alone: {figures['mfu']:.0%} of the device's rate (6N a token)")


if __name__ == "__main__":
    main()
