"""What a swarm learns that one node does not: the experiment, arm by arm and seed by seed.

    python -m benchmarks.learning --config configs/tiny.py [--arms=solo,swarm] [--seeds=5]

Each run writes its record when it is over; the same command goes on with those that are missing.
--hours ends between two runs when so much time has passed. --report draws nothing new and makes the
table, the plots and the page from what is there. The runs are packed beside the page
(runs.tar.xz); unpacked into --out, they are there again. With --real the nodes are processes that
meet over the DHT. The arms: benchmarks/learning/arms.py.
"""

import os
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from absl import flags as absl_flags

from benchmarks import facts
from benchmarks.learning import page, play, real, records
from benchmarks.learning.arms import ARMS, GROUP
from benchmarks.learning.lab import open_lab
from jaxswarm.errors import InputError
from jaxswarm.host import memory
from jaxswarm.setup import flags


@dataclass(frozen=True, slots=True)
class Wanted:
    """The program's own flags, by name."""

    arms: list[str]
    seeds: int
    tokens: float
    hours: float
    out: str
    report: bool
    real: bool
    page: str

    @property
    def directory(self) -> Path:
        return Path(self.out).expanduser()


def main() -> int:
    """Returns the exit code: 0, or 2 for something given that can't be used."""
    values = absl_flags.FlagValues()
    flags.define(values)
    absl_flags.DEFINE_list("arms", list(ARMS), "which, in this order", flag_values=values)
    absl_flags.DEFINE_integer("seeds", 5, "runs of each arm", 1, flag_values=values)
    absl_flags.DEFINE_float(
        "tokens", 150_000.0, "that a solo node generates in a run", 1.0, flag_values=values
    )
    absl_flags.DEFINE_float(
        "hours", 0.0, "start no run after so long; 0: all", 0.0, flag_values=values
    )
    absl_flags.DEFINE_string("out", "runs/learning", "for records and figures", flag_values=values)
    absl_flags.DEFINE_bool("report", False, "only from what is there", flag_values=values)
    absl_flags.DEFINE_bool(
        "real", False, "nodes in processes of their own, over the DHT", flag_values=values
    )
    absl_flags.DEFINE_string(
        "page", str(facts.RESULTS / "learning"), "for the page and its plots", flag_values=values
    )
    try:
        config = flags.parse(values, __doc__ or "")
        given: dict[str, Any] = {field.name: values[field.name].value for field in fields(Wanted)}
        wanted = Wanted(**given)
        for name in wanted.arms:
            if name not in ARMS:
                raise InputError(
                    "--arms", got=name, expected=", ".join(ARMS), remedy="choose among these"
                )
        if wanted.real:  # else this process leaves its nodes a quarter of a GPU's memory
            os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        if not wanted.report:
            _play_all(config, wanted)
        print(page.write(records.read(wanted.directory), Path(wanted.page)))
        records.pack(wanted.directory, Path(wanted.page) / records.PACKED)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _play_all(config: flags.Config, wanted: Wanted) -> None:
    """Seed by seed, so that what there is after any time is about the same of every arm."""
    if config.grpo.group != GROUP:
        raise InputError(
            "grpo.group",
            got=config.grpo.group,
            expected=f"{GROUP}, of which the arms' mixes are",
            remedy="leave out --config.grpo.group",
        )
    out = wanted.directory
    begun, hours = time.monotonic(), wanted.hours
    lab = open_lab(config, out / "starts", print)
    settings = {
        "tokens": wanted.tokens,
        "real": wanted.real,
        "config": records.settings_of(config),
    }
    way = real.play if wanted.real else play.play
    records.check(out, settings)
    told = facts.facts() | settings
    for seed in range(wanted.seeds):
        for name in wanted.arms:
            if records.path_of(out, name, seed).exists():
                continue
            if hours and time.monotonic() - begun > 3600 * hours:
                print(f"{hours:g} hours have passed: the same command goes on")
                return
            directory = out / "nodes" / f"{name}-{seed}"
            run = way(lab, ARMS[name], seed, wanted.tokens, directory)
            records.write(out, run | {"facts": told})
            _say(run)


def _say(run: records.Run) -> None:
    first, last = (
        sum(sum(node[when]["greedy"]) / len(node[when]["greedy"]) for node in run["nodes"])
        / len(run["nodes"])
        for when in ("before", "after")
    )
    print(
        f"{run['arm']} seed {run['seed']}: held-out pass@1 {first:.1%} -> {last:.1%}, "
        f"{run['nodes'][0]['updates']} updates, {run['seconds']:.0f} s"
        + (" (stopped: nothing can be learnt)" if run["hopeless"] else ""),
        flush=True,
    )


if __name__ == "__main__":
    memory.keep_freed()
    sys.exit(main())
