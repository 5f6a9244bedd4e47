"""One whole GRPO step, completions and update: time, tokens/s and memory, beside other libraries.

    python -m benchmarks.grpo_step --work cpu --peers trl,tunix --model SRC --data DIR
    python -m benchmarks.grpo_step --work gpu
    python -m benchmarks.grpo_step --work var

As `benchmarks.generate`. In "var" completions and update are each timed with compaction and
without, in turns: finished rows dropped while decoding, completions packed into fewer rows to
learn. Figures go to results/grpo_step-WORK.json, with --recompute to
grpo_step-WORK-recomputed.json.
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
            if timed := sides["ours"].get("compaction_s"):
                figures[work.name]["compaction"] = _compaction(timed)
            rates = sides["ours"].get("rates", {})
            if "train_s" in rates:
                mfu = rates["train_flops"] / rates["train_s"] / rates["flops_per_s"]
                figures[work.name]["mfu"] = mfu
                print(f"  the update alone: {mfu:.0%} of the device's rate (6N a token)")
            # After each work: a command may be killed in the next one.
            print(facts.write(f"grpo_step-{flags.work}{suffix}", figures, about))


def _compaction(timed: dict[str, dict[str, list[float]]]) -> dict[str, float]:
    """The time of each part of a step, and of the whole, with compaction over that without."""
    median_s = {
        part: {way: statistics.median(seconds) for way, seconds in ways.items()}
        for part, ways in timed.items()
    }
    ways = ("with", "without")
    median_s["step"] = {way: sum(median_s[part][way] for part in timed) for way in ways}
    ratios: dict[str, float] = {}
    for part, seconds in median_s.items():
        ratios[part] = seconds["with"] / seconds["without"]
        times = ", ".join(f"{seconds[way]:.1f} s {way} compaction" for way in ways)
        print(f"  {part}: {times}: {ratios[part]:.2f}")
    return ratios


if __name__ == "__main__":
    main()
