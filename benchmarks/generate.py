"""Completions of one step's prompts: time against other libraries, and against the machine.

    python -m benchmarks.generate --work cpu --peers tunix,transformers --model SRC --data DIR
    python -m benchmarks.generate --work gpu

The works are those of `benchmarks.works`. Every side has a process of its own; one that can't run
here is left out with its reason. Beside times and their ratios stands how near a decode step is to
its matmuls with weights alone, and to reading weights and the cache in use once at the rate of a
copy. Tunix and TRL come with the extra `peers`, which constraints.txt does not allow: give them an
environment of their own and name its python by --peers-python. Without --model no side but ours and
transformers has weights. Figures go to results/generate-WORK.json.
"""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks import contest, facts, works


def main() -> None:
    """Measures, prints a table and writes the figures."""
    flags = contest.parser((__doc__ or "").splitlines()[0]).parse_args()
    peers = contest.peers(flags)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="generate-") as temporary:
        for work in works.works(
            flags.work,
            Path(temporary),
            on_gpu=facts.backend() == "gpu",
            train=False,
            repeats=flags.repeats,
            model=flags.model,
            data=flags.data,
        ):
            directory = Path(temporary)
            sides = {"ours": contest.measure("ours", work, directory)}
            for peer in peers if work.is_even else ():
                python = flags.peers_python if peer in ("trl", "tunix") else contest.OWN_PYTHON
                sides[peer] = contest.measure(peer, work, directory, python)
            figures[work.name] = _compared(sides) | {"tokens": work.tokens, "sides": sides}
            _show(work.name, figures[work.name])
    print(facts.write(f"generate-{flags.work}", figures))


def _compared(sides: dict[str, dict[str, Any]]) -> dict[str, Any]:
    ours = sides["ours"]
    rates = ours.get("rates", {})
    found: dict[str, Any] = {
        "time_over": {
            peer: contest.ratio(ours, figures, "generate")
            for peer, figures in sides.items()
            if peer != "ours"
        }
    }
    if "decode_step_s" in rates:
        found["matmuls_over_step"] = rates["matmuls_s"] / rates["decode_step_s"]
    if "copy_bytes_per_s" in rates:
        streamed_s = rates["step_bytes"] / rates["copy_bytes_per_s"]
        found["share_of_bandwidth"] = streamed_s / rates["decode_step_s"]
    return found


def _show(name: str, figures: dict[str, Any]) -> None:
    print(f"{name}: {figures['tokens']} tokens")
    print("  side          first s  generate s  tokens/s  ours takes  peak GB")
    for side, found in figures["sides"].items():
        if "skipped" in found:
            print(f"  {side:12}  {found['skipped']}")
            continue
        seconds = found["median_s"]["generate"]
        times = figures["time_over"].get(side)
        print(
            f"  {side:12}  {found['first_s']:7.1f}  {seconds:10.2f}"
            f"  {figures['tokens'] / seconds:8.1f}"
            f"  {'' if times is None else f'{times:.2f} of it':>10}  {found['peak_gb']:7.2f}"
        )
    if "matmuls_over_step" in figures:
        rates = figures["sides"]["ours"]["rates"]
        print(
            f"  a decode step: {rates['decode_step_s'] * 1e3:.1f} ms; its matmuls alone: "
            f"{figures['matmuls_over_step']:.0%} of it"
        )
    if "share_of_bandwidth" in figures:
        print(f"  its bytes at the rate of a copy: {figures['share_of_bandwidth']:.0%} of it")


if __name__ == "__main__":
    main()
