"""What a node holds on to: memory, open files, threads and processes, over hundreds of rounds.

    python -m benchmarks.soak [--rounds 200] [--early 20] [--nodes 2] [--out DIR] [--config.a.b=c]

Nodes of the embedded default with real p2p daemons on loopback, so that texts travel; evaluation is
off. Each node and its daemon are looked at every second. The memory "after round N" is the largest
over the last rounds up to N, so that what a stage needs for a moment counts in both. Of files,
threads and processes it is the fewest: a checkpoint opens some for a moment, which a look catches
or not; what is never given back is always there. Figures and a plot go to results/soak.json and
soak.png, those of the rounds so far on Ctrl-C or SIGTERM. 1 if anything has grown beyond the bound.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from jaxswarm.launch.plan import Plan
from jaxswarm.launch.processes import NodeProcess

NAME = "soak"
CONFIG = "configs/tiny.py"
FLAGS = ("--config.evaluation.questions=0",)
BOUND = 1.05
"""What may be held after the last round, against what was held after the early one."""
SPARE = 2
"""Files, threads and processes that may come on top, of which a daemon has ten: a connection or a
thread of its runtime more at that moment. A leak of one a round would come to 180."""
WINDOW = 5
"""Rounds whose samples make the figure of the last of them."""
EVERY_S = 1.0
STUCK_S = 1800.0
"""Without a stage done in this time a node is stuck, however slow the machine."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One process at one moment. `processes`: itself and all below it."""

    memory_mb: float
    files: int
    threads: int
    processes: int

    def held(self, other: "Sample") -> "Sample":
        """The most memory of both, and the fewest of all else."""
        return Sample(
            max(self.memory_mb, other.memory_mb),
            min(self.files, other.files),
            min(self.threads, other.threads),
            min(self.processes, other.processes),
        )


ByRound = dict[int, Sample]
"""By round from 1, what was held in it."""


def main() -> int:
    """Runs the nodes, prints and writes the figures. 0 if everything stayed within the bound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--early", type=int, default=20, help="the round to compare with")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=None)
    flags, overrides = parser.parse_known_args()
    out = flags.out or Path(tempfile.mkdtemp(prefix="soak-"))
    began = time.monotonic()
    seen: dict[str, ByRound] = defaultdict(dict)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        soak(out, flags.rounds, flags.nodes, overrides, seen)
    except KeyboardInterrupt:
        print("stopped on request: the figures are those of the rounds so far")
    # In the last of its rounds a node may be ending.
    last = max(1, min(max(by_round) for by_round in seen.values()) - 1)
    early = min(flags.early, last)
    growth = {name: grown(by_round, early, last) for name, by_round in seen.items()}
    for name, figures in growth.items():
        print(name, *(f"{k} {g['early']:g} -> {g['late']:g}" for k, g in figures.items()), sep=", ")
    from benchmarks import facts

    path = facts.write(
        NAME,
        {
            "flags": [*FLAGS, *overrides],
            "early_round": early,
            "late_round": last,
            "seconds": round(time.monotonic() - began),
            "bound": BOUND,
            "within_bound": within_bound(growth),
            "growth": growth,
            "by_round": {
                name: {str(r): asdict(sample) for r, sample in sorted(by_round.items())}
                for name, by_round in seen.items()
            },
        },
    )
    draw(seen, path.with_suffix(".png"))
    print(f"figures: {path}")
    return 0 if within_bound(growth) else 1


def soak(
    out: Path, rounds: int, nodes: int, overrides: Iterable[str], seen: dict[str, ByRound]
) -> None:
    """Runs the nodes to their end, and notes in `seen` what each of them and its daemon held.

    Raises:
      RuntimeError: a node ended otherwise than with all its rounds done, or is stuck.
    """
    more = (f"--config.rounds={rounds}", *FLAGS, *overrides)
    plan = Plan(nodes=nodes, config=CONFIG, out=out, overrides=more)
    running: list[NodeProcess] = []
    try:
        first = NodeProcess(plan.command_of(0, None, nodes - 1), plan.directory(0))
        running.append(first)
        while (card := first.card()) is None:
            _check(first)
            time.sleep(EVERY_S)
        for index in range(1, nodes):
            command = plan.command_of(index, card.addresses[0], nodes - 1)
            running.append(NodeProcess(command, plan.directory(index)))
        moved = time.monotonic()
        while any(node.code is None for node in running):
            time.sleep(EVERY_S)
            for node in running:
                _check(node)
                if news := _look(node, seen):
                    moved = time.monotonic()
                    print(news, flush=True)
            if time.monotonic() - moved > STUCK_S:
                raise RuntimeError(f"no round done in {STUCK_S:.0f} s; logs in {out}")
    finally:
        for node in running:
            node.kill()


def grown(by_round: ByRound, early: int, late: int) -> Mapping[str, Mapping[str, float]]:
    """Each figure after the early and after the late round, and how the two compare."""
    before, after = _after(by_round, early), _after(by_round, late)
    return {
        kind: {"early": b, "late": a, "ratio": round(a / b, 4)}
        for (kind, b), a in zip(asdict(before).items(), asdict(after).values(), strict=True)
    }


def within_bound(growth: Mapping[str, Mapping[str, Mapping[str, float]]]) -> bool:
    return all(
        g["late"] <= max(BOUND * g["early"], g["early"] + (0 if kind == "memory_mb" else SPARE))
        for figures in growth.values()
        for kind, g in figures.items()
    )


def draw(seen: Mapping[str, ByRound], path: Path) -> None:
    """Writes the picture of all figures over the rounds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.5), layout="constrained")
    for axes, kind in zip(figure.subplots(2, 2, sharex=True).flat, Sample.__slots__, strict=True):
        for name, by_round in sorted(seen.items()):
            x = sorted(by_round)
            axes.plot(x, [getattr(by_round[r], kind) for r in x], label=name, linewidth=1.2)
        axes.set_title(kind, fontsize=10)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        if kind == "memory_mb":
            axes.legend(fontsize=8)
    figure.supxlabel("round", fontsize=9)
    figure.savefig(path, dpi=110)


def _look(node: NodeProcess, seen: dict[str, ByRound]) -> str:
    """Notes what the node and its daemon hold now. Says so when a new round has begun."""
    reading = node.reading()
    if reading is None:
        return ""
    round_ = reading.status.position.round + 1
    try:
        process = psutil.Process(reading.pid)
        below = process.children(recursive=True)
        daemons = [child for child in below if "p2pd" in child.name()]
        samples = {node.name: _sample(process, 1 + len(below))}
        if daemons:
            samples[f"{node.name} daemon"] = _sample(daemons[0], 1)
    except psutil.NoSuchProcess:  # it has just ended
        return ""
    is_new = round_ not in seen[node.name]
    before = seen[node.name].get(round_ - 1)
    for name, sample in samples.items():
        seen[name][round_] = seen[name].get(round_, sample).held(sample)
    return f"{node.name} round {round_ - 1}: {before}" if is_new else ""


def _sample(process: psutil.Process, processes: int) -> Sample:
    with process.oneshot():
        memory_mb = round(process.memory_info().rss / 2**20, 1)
        return Sample(memory_mb, process.num_fds(), process.num_threads(), processes)


def _after(by_round: ByRound, round_: int) -> Sample:
    rounds: Sequence[int] = [r for r in by_round if round_ - WINDOW < r <= round_]
    assert rounds, f"no sample in the rounds up to {round_}"
    figure = by_round[rounds[0]]
    for r in rounds[1:]:
        figure = figure.held(by_round[r])
    return figure


def _check(node: NodeProcess) -> None:
    if node.code is not None and not node.finished:
        raise RuntimeError(f"{node.name}: {node.end()}; the end of its log:\n{node.tail(15)}")


if __name__ == "__main__":
    sys.exit(main())
