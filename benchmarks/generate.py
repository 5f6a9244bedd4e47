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

from benchmarks import contest, facts


def main() -> None:
    """Measures, prints a table and writes the figures."""
    flags = contest.parser((__doc__ or "").splitlines()[0]).parse_args()
    peers = contest.peers(flags)
    about = facts.asked()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="generate-") as temporary:
        directory = Path(temporary)
        for work in contest.asked_works(flags, about, directory, train=False):
            sides = {"ours": contest.measure("ours", work, directory)}
            for peer in peers if work.is_even else ():
                python = flags.peers_python if peer in ("trl", "tunix") else contest.OWN_PYTHON
                sides[peer] = contest.measure(peer, work, directory, python)
            shares = _shares(sides["ours"].get("rates", {}))
            figures[work.name] = contest.compared(work, sides, "generate") | shares
            contest.show(work.name, figures[work.name], "generate")
            for name, share in shares.items():
                print(f"  {name.replace('_', ' ')}: {share:.0%}")
            # After each work: a command may be killed in the next one.
            print(facts.write(f"generate-{flags.work}", figures, about))


def _shares(rates: dict[str, float]) -> dict[str, float]:
    """How near a decode step is to what the machine can do."""
    found: dict[str, float] = {}
    if "decode_step_s" in rates:
        found["matmuls_over_step"] = rates["matmuls_s"] / rates["decode_step_s"]
    if "copy_bytes_per_s" in rates:
        streamed_s = rates["step_bytes"] / rates["copy_bytes_per_s"]
        found["share_of_bandwidth"] = streamed_s / rates["decode_step_s"]
    return found


if __name__ == "__main__":
    main()
