"""One whole GRPO step, completions and update: time, tokens/s and memory, beside other libraries.

    python -m benchmarks.grpo_step --work cpu --peers trl,tunix --model SRC --data DIR
    python -m benchmarks.grpo_step --work gpu
    python -m benchmarks.grpo_step --work var

As `benchmarks.generate`. In "var" the update is timed on completions packed and unpacked in turns.
Figures go to results/grpo_step-WORK.json, with --recompute to grpo_step-WORK-recomputed.json.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import contest, facts


def main() -> None:
    """Measures, prints a table and writes the figures."""
    flags = contest.parser((__doc__ or "").splitlines()[0]).parse_args()
    peers = [peer for peer in contest.peers(flags) if peer != "transformers"]  # it has no update
    about = facts.asked()
    suffix = "-recomputed" if flags.recompute else ""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="grpo-step-") as temporary:
        directory = Path(temporary)
        for work in contest.asked_works(flags, about, directory, train=True):
            sides = {"ours": contest.measure("ours", work, directory)}
            for peer in peers if work.is_even else ():
                sides[peer] = contest.measure(peer, work, directory, flags.peers_python)
            figures[work.name] = contest.compared(work, sides, "step")
            contest.show(work.name, figures[work.name], "step")
            if updates_s := sides["ours"].get("updates_s"):
                packed_s, unpacked_s = (statistics.median(updates_s[way]) for way in updates_s)
                generate_s = sides["ours"]["median_s"]["generate"]
                whole = (generate_s + packed_s) / (generate_s + unpacked_s)
                figures[work.name]["packed_over_unpacked"] = whole
                updates = f"{packed_s:.1f} s packed, {unpacked_s:.1f} s unpacked"
                print(f"  the update {updates}; with completions drawn {whole:.2f} of the time")
            rates = sides["ours"].get("rates", {})
            if "train_s" in rates:
                mfu = rates["train_flops"] / rates["train_s"] / rates["flops_per_s"]
                figures[work.name]["mfu"] = mfu
                print(f"  the update alone: {mfu:.0%} of the device's rate (6N a token)")
            # After each work: a command may be killed in the next one.
            print(facts.write(f"grpo_step-{flags.work}{suffix}", figures, about))


if __name__ == "__main__":
    main()
