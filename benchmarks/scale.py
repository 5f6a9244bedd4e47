"""What a swarm's size costs one node: traffic, memory and time of a stage.

    python -m benchmarks.scale [--real 2,4,8,16,30] [--simulated 10,30,100,300,1000] [--keep]

Real: nodes on this machine, each with its p2p daemon on loopback, the real exchange and a learner
that rests (scale_side.py); at the default limits, and at a quarter of them, where the list of
members is split long before thirty. Traffic is what loopback carried, so nothing else may use it:
`unshare --net sh -c 'ip link set lo up && python -m benchmarks.scale'` gives it one of its own.
Simulated: benchmarks/scale_simulation.py says what of it is; once with the list in buckets, and
once with one list for all, as it was before. Figures and a plot go to results/scale.json and
scale.png; with --keep those of the other part that are there stay, with their own facts.
"""

import argparse
import dataclasses
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import psutil

from benchmarks import facts
from benchmarks.scale_simulation import UNBOUNDED, Simulation
from jaxswarm.swarm.config import Limits

NAME = "scale"
STAGES = 6
WARM_UP = 2
"""Stages that are not counted: connections are made in them."""
STAGE_S = 5.0
ANSWER_TIMEOUT_S = 600.0

QUARTER = Limits(split_members=8, max_partners=4)
REAL: Mapping[str, Limits] = {"default limits": Limits(), "a quarter of them": QUARTER}
SIMULATED: Mapping[str, Limits] = {"in buckets": Limits(), "one list for all": UNBOUNDED}
LONGEST_LIST = 100
"""Larger swarms with one list for all take hours to simulate, and longer to run."""
SPENT = ("gets", "stores", "records_read", "bytes_received", "bytes_sent")
SIMULATED_S = 160
SIMULATED_WARM_UP_S = 70

Figures = dict[str, Any]


def main() -> int:
    """Measures, prints and writes. 0 unless a node has failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--real", default="2,4,8,16,30", help='sizes; "": none')
    parser.add_argument("--simulated", default="10,30,100,300,1000", help='sizes; "": none')
    parser.add_argument("--keep", action="store_true", help="what is not measured now")
    flags = parser.parse_args()
    results = facts.RESULTS / f"{NAME}.json"
    figures: Figures = {}
    if flags.real:
        figures["real"] = {
            name: [_told(real(size, limits)) for size in _sizes(flags.real)]
            for name, limits in REAL.items()
        }
    if flags.simulated:
        figures["simulated"] = {
            name: [
                _told(simulated(size, limits))
                for size in _sizes(flags.simulated)
                if limits is not UNBOUNDED or size <= LONGEST_LIST
            ]
            for name, limits in SIMULATED.items()
        }
    before = json.loads(results.read_text()) if flags.keep and results.exists() else {}
    now = facts.facts()
    figures = {
        part: {"facts": now, **figures[part]}
        if part in figures
        else facts.kept(before.get(part, {}), before)
        for part in ("real", "simulated")
    }
    path = facts.save(NAME, figures)
    draw(figures, path.with_suffix(".png"))
    print(f"figures: {path}")
    return 0


def real(size: int, limits: Limits) -> Figures:
    """Plays some stages with so many nodes; means over the nodes, of one stage.

    Raises:
      TimeoutError: a node has not joined or not played in time.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.scale_side"])
    nodes: list[tuple[Any, Connection]] = []
    # In a larger one nobody hears all others.
    first_peers = size - 1 if size <= limits.split_members else limits.split_members // 2
    with tempfile.TemporaryDirectory(prefix="scale-") as temporary:
        try:
            address = ""
            for index in range(size):
                here, there = context.Pipe()
                directory = Path(temporary) / f"node-{index}"
                process = context.Process(
                    target=_play,
                    args=(there, directory, address, first_peers, STAGES, STAGE_S, limits),
                )
                process.start()
                there.close()
                nodes.append((process, here))
                if index == 0:
                    (address,) = _hear([here])
            pipes = [pipe for _, pipe in nodes]
            _hear(pipes[1:])
            for _ in range(WARM_UP):
                _hear(pipes)
            before = _spent(nodes)
            told = [_hear(pipes) for _ in range(STAGES - WARM_UP)]
            after = _spent(nodes)
            memory = {name: _memory_mb(processes) for name, processes in _processes(nodes).items()}
            for pipe in pipes:
                pipe.send(None)
            for process, _ in nodes:
                process.join(60.0)
        finally:
            for process, pipe in nodes:
                process.kill()
                pipe.close()
    stages = [stage for of_all in told for stage in of_all]
    count = len(stages)
    per_stage = {name: round((after[name] - before[name]) / count, 4) for name in before}
    peers, read, missing, waited_s = zip(*stages, strict=True)
    return {
        "nodes": size,
        "peers_heard": round(statistics.mean(peers), 1),
        "outputs_read": round(statistics.mean(read), 2),
        "outputs_missing": round(statistics.mean(missing), 3),
        "seconds_waited": round(statistics.mean(waited_s), 2),
        **per_stage,
        **memory,
    }


def simulated(
    size: int,
    limits: Limits,
    warm_up_s: int = SIMULATED_WARM_UP_S,
    seconds: int = SIMULATED_S - SIMULATED_WARM_UP_S,
) -> Figures:
    """Some minutes of a swarm of this size; means over the nodes, of one stage.

    Args:
      size: how many nodes.
      limits: what each of them keeps to.
      warm_up_s: what is not counted: they come, and the list finds its depth.
      seconds: what is counted.
    """
    swarm = Simulation(size, limits)
    swarm.run(warm_up_s)
    before = [dataclasses.replace(node.traffic) for node in swarm.nodes]
    for node in swarm.nodes:
        node.traffic.largest_reply = 0
    stages, missed = (sum(getattr(n, what) for n in swarm.nodes) for what in ("stages", "missed"))
    swarm.dht.readers.clear()
    spread = 0
    for _ in range(seconds):
        swarm.run(1)
        spread = max(spread, swarm.spread())
    stages = sum(node.stages for node in swarm.nodes) - stages
    missed = sum(node.missed for node in swarm.nodes) - missed
    spent = {
        f"{name}_per_stage": round(
            sum(getattr(n.traffic, name) - getattr(b, name) for n, b in _zip(swarm, before))
            / stages,
            1,
        )
        for name in SPENT
    }
    return {
        "nodes": size,
        "depth_of_the_list": statistics.median(n.neighbourhood.home.depth for n in swarm.nodes),
        "stages": stages,
        "largest_spread_in_stages": spread,
        "outputs_missing": round(missed / stages, 4),
        **spent,
        "largest_reply_bytes": max(node.traffic.largest_reply for node in swarm.nodes),
        "members_remembered": max(node.neighbourhood.remembered for node in swarm.nodes),
        "readers_of_an_output": max(swarm.dht.readers.values()),
    }


def draw(figures: Figures, path: Path) -> None:
    """Writes the picture: each figure over the size of the swarm."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 7), layout="constrained")
    for axes, (part, kind, title) in zip(figure.subplots(2, 4).flat, PANELS, strict=True):
        rows_by_name = {k: rows for k, rows in figures[part].items() if k != "facts"}
        for name, rows in rows_by_name.items():
            points = [(row["nodes"], row[kind]) for row in rows]
            axes.plot(*zip(*points, strict=True), "o-", markersize=4, linewidth=1.2, label=name)
        axes.set_title(f"{part}: {title}", fontsize=9)
        axes.set_xlabel("nodes", fontsize=8)
        axes.set_ylim(bottom=0)
        if part == "simulated":
            axes.set_xscale("log")
        axes.grid(alpha=0.3)
        if rows_by_name:
            axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)


PANELS = (
    ("real", "bytes_per_stage", "bytes on the wire, a node and stage"),
    ("real", "cpu_s_per_stage", "CPU seconds, a node and stage"),
    ("real", "seconds_waited", "seconds waited for others"),
    ("real", "daemon_mb", "memory of a daemon, MiB"),
    ("simulated", "bytes_received_per_stage", "bytes of records received, a node and stage"),
    ("simulated", "records_read_per_stage", "heartbeats read, a node and stage"),
    ("simulated", "largest_reply_bytes", "the largest reply, bytes"),
    ("simulated", "members_remembered", "members remembered"),
)


def _play(*arguments: Any) -> None:
    from benchmarks.scale_side import play  # the parent needs neither hivemind nor torch

    play(*arguments)


def _hear(pipes: Sequence[Connection]) -> list[Any]:
    """The next word of each."""
    said: dict[Connection, Any] = {}
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while len(said) < len(pipes):
        ready = wait([p for p in pipes if p not in said], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError(f"{len(pipes) - len(said)} of {len(pipes)} nodes say nothing")
        said |= {pipe: pipe.recv() for pipe in ready if isinstance(pipe, Connection)}
    return [said[pipe] for pipe in pipes]


def _processes(nodes: Sequence[tuple[Any, Connection]]) -> dict[str, list[psutil.Process]]:
    own = [psutil.Process(process.pid) for process, _ in nodes]
    daemons = [child for process in own for child in process.children() if "p2pd" in child.name()]
    return {"node_mb": own, "daemon_mb": daemons}


def _memory_mb(processes: Sequence[psutil.Process]) -> float:
    """What each holds for itself alone: the nodes share what they were forked from."""
    return round(statistics.mean(p.memory_full_info().uss for p in processes) / 2**20, 1)


def _spent(nodes: Sequence[tuple[Any, Connection]]) -> dict[str, float]:
    times = [p.cpu_times() for processes in _processes(nodes).values() for p in processes]
    loopback = psutil.net_io_counters(pernic=True)["lo"]
    return {
        "bytes_per_stage": float(loopback.bytes_sent),
        "cpu_s_per_stage": sum(t.user + t.system for t in times),
    }


def _zip(swarm: Simulation, before: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(swarm.nodes, before, strict=True))


def _sizes(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _told(figures: Figures) -> Figures:
    print(json.dumps(figures), flush=True)
    return figures


if __name__ == "__main__":
    sys.exit(main())
