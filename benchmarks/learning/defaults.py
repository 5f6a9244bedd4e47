"""What each default of the learner is worth: one node, stage 1 alone, one key changed at a time.

    python -m benchmarks.learning.defaults --config configs/tiny.py [--seeds=3]

Equal tokens, the same seeds for all, measured as the experiment's arms are. Each run writes its
record when it is over; the same command goes on with those that are missing. The table goes to
results/learning/defaults.md, and the runs to defaults.tar.xz beside it.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags as absl_flags

from benchmarks import facts
from benchmarks.learning import records
from benchmarks.learning.arms import ARMS
from benchmarks.learning.lab import open_lab
from benchmarks.learning.play import play
from benchmarks.learning.records import Run
from benchmarks.learning.statistics import Interval, interval
from jaxswarm.errors import InputError
from jaxswarm.setup import flags

SOLO = ARMS["solo"]

OTHERS: Mapping[str, tuple[Any, ...]] = {
    "optimizer.learning_rate": (1e-4, 1e-3),
    "grpo.beta": (0.04,),
    "grpo.group": (4, 16),
    "grpo.loss": ("grpo", "dr_grpo"),
    "grpo.advantage_scale": ("group", "none"),
}
"""Values that are tried in place of the config's."""

PAGE, PACKED = "defaults.md", "defaults.tar.xz"
MEASURES = ("greedy", "sampled")


def main() -> int:
    """Returns the exit code: 0, or 2 for something given that can't be used."""
    values = absl_flags.FlagValues()
    flags.define(values)
    absl_flags.DEFINE_integer("seeds", 3, "runs of each value", 1, flag_values=values)
    absl_flags.DEFINE_float("tokens", 60_000.0, "of a run", 1.0, flag_values=values)
    absl_flags.DEFINE_string("out", "runs/defaults", "for records", flag_values=values)
    absl_flags.DEFINE_bool("report", False, "only from what is there", flag_values=values)
    try:
        config = flags.parse(values, __doc__ or "")
        told: dict[str, Any] = {name: values[name].value for name in ("seeds", "tokens", "report")}
        out = Path(str(values["out"].value)).expanduser()
        if not told["report"]:
            for key, value in [("", None), *_pairs()]:
                _play_all(config, key, value, told["seeds"], told["tokens"], out)
        path = facts.RESULTS / "learning" / PAGE
        path.write_text(page(config, _read(out)))
        records.pack(out, path.with_name(PACKED))
        print(path)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _pairs() -> list[tuple[str, Any]]:
    return [(key, value) for key, tried in OTHERS.items() for value in tried]


def _name(key: str, value: Any) -> str:
    return f"{key}={value}" if key else "default"


def _read(out: Path) -> dict[str, list[Run]]:
    """The runs of each value that has any."""
    names = ["default", *(_name(key, value) for key, value in _pairs())]
    found = {name: records.read(out / name).get(SOLO.name, []) for name in names}
    return {name: runs for name, runs in found.items() if runs}


def _play_all(
    given: flags.Config, key: str, value: Any, seeds: int, tokens: float, out: Path
) -> None:
    """The runs of one value that are not there yet; they share their programs."""
    directory = out / _name(key, value)
    config = given.copy_and_resolve_references()
    if key:
        with config.unlocked():
            config.update_from_flattened_dict({key: value})
    settings = {"tokens": tokens, "config": records.settings_of(config)}
    records.check(directory, settings)
    missing = [
        seed for seed in range(seeds) if not records.path_of(directory, SOLO.name, seed).exists()
    ]
    if not missing:
        return
    told = facts.facts() | settings
    lab = open_lab(config, out / "starts", lambda _: None)
    for seed in missing:
        began = time.monotonic()
        run = play(lab, SOLO, seed, tokens, directory / "nodes" / str(seed))
        records.write(directory, run | {"facts": told})
        print(f"{directory.name} seed {seed}: {time.monotonic() - began:.0f} s", flush=True)


def page(config: flags.Config, found: Mapping[str, Sequence[Run]]) -> str:
    """The table, with what was measured on."""
    if "default" not in found:
        return "# What each default is worth\n\nNo run with the defaults has ended yet.\n"
    told = found["default"][0]["facts"]
    lines = [
        "# What each default is worth",
        "",
        f"By `python -m benchmarks.learning.defaults`: one node, GRPO on stage 1 alone, "
        f"{told['tokens'] / 1e3:,.0f} thousand tokens, one key changed at a time; commit "
        f"{told['commit']}, jax {told['versions']['jax']}, {told['cpu']}. Points of held-out "
        "pass@1 with 95% intervals, the run as unit; differences are of runs with the same seeds. "
        f"The runs: {PACKED}.",
        "",
        "| key | value | runs | greedy gain | greedy, against the default | sampled, likewise |",
        "|---|---|---|---|---|---|",
        _row("all", "as configured", found["default"], None),
    ]
    for key, value in _pairs():
        if runs := found.get(_name(key, value)):
            words = f"{value} in place of {flags.value(config, key)}"
            lines.append(_row(f"`{key}`", words, runs, found["default"]))
    return "\n".join(lines) + "\n"


def _row(key: str, value: str, runs: Sequence[Run], default: Sequence[Run] | None) -> str:
    gain = interval(_table(runs, "after", "greedy") - _table(runs, "before", "greedy"))
    gaps = ["", ""] if default is None else [str(_gap(runs, default, m)) for m in MEASURES]
    return "| " + " | ".join([key, value, str(len(runs)), str(gain), *gaps]) + " |"


def _gap(runs: Sequence[Run], default: Sequence[Run], measure: str) -> Interval:
    these, those = records.paired(runs, default)
    return interval(_table(these, "after", measure) - _table(those, "after", measure))


def _table(runs: Sequence[Run], when: str, measure: str) -> Any:
    return records.table(runs, lambda node: node[when][measure])


if __name__ == "__main__":
    sys.exit(main())
