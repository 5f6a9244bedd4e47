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

from benchmarks import contest, facts


def main() -> None:
    """Measures, prints a table and writes the figures."""
    flags = contest.parser((__doc__ or "").splitlines()[0]).parse_args()
    peers = [peer for peer in contest.peers(flags) if peer != "transformers"]  # it has no update
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="grpo-step-") as temporary:
        directory = Path(temporary)
        for work in contest.asked_works(flags, directory, train=True):
            sides = {"ours": contest.measure("ours", work, directory)}
            if work.is_even:
                for peer in peers:
                    sides[peer] = contest.measure(peer, work, directory, flags.peers_python)
            else:
                sides["unpacked"] = contest.measure("ours", replace(work, compact=False), directory)
            figures[work.name] = contest.compared(work, sides, "step")
            contest.show(work.name, figures[work.name], "step")
            rates = sides["ours"].get("rates", {})
            if "train_s" in rates:
                mfu = rates["train_flops"] / rates["train_s"] / rates["flops_per_s"]
                figures[work.name]["mfu"] = mfu
                print(f"  the update alone: {mfu:.0%} of the device's rate (6N a token)")
    print(facts.write(f"grpo_step-{flags.work}", figures))


if __name__ == "__main__":
    main()
