"""Runs on the disk: one JSON each, written when the run is over, so that a second call goes on."""

import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxswarm.errors import InputError
from jaxswarm.report.files import replace_json
from jaxswarm.setup.flags import Config

Run = dict[str, Any]

PACKED = "runs.tar.xz"
"""All runs of an experiment, beside its page; unpacked into --out, the same command goes on."""


def settings_of(config: Config) -> dict[str, Any]:
    """What a run depends on: all but where things lie on the machine that plays it."""
    values = json.loads(config.to_json())
    del values["output"]
    for part in ("model", "data"):
        named = values[part]["source"].split(",")
        values[part]["source"] = ",".join("/".join(Path(name).parts[-2:]) for name in named)
    return values


def check(directory: Path, settings: Mapping[str, Any]) -> None:
    """Raises InputError where the runs that are there had other settings: they don't compare."""
    for run in (run for runs in read(directory).values() for run in runs):
        if any(run["facts"].get(name, False) != value for name, value in settings.items()):
            raise InputError(
                "--out",
                got=str(directory),
                expected=f"runs with the settings given, not those of {run['arm']} {run['seed']}",
                remedy="give the settings of those runs, or another directory",
            )


def path_of(directory: Path, arm: str, seed: int) -> Path:
    return directory / "runs" / f"{arm}-{seed}.json"


def write(directory: Path, run: Run) -> Path:
    """Whole or not at all."""
    path = path_of(directory, run["arm"], run["seed"])
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_json(path, run)
    return path


def read(directory: Path) -> dict[str, list[Run]]:
    """All runs, by arm, in the order of their seeds."""
    found: dict[str, list[Run]] = {}
    for path in sorted((directory / "runs").glob("*.json")):
        run = json.loads(path.read_text())
        found.setdefault(run["arm"], []).append(run)
    return {arm: sorted(runs, key=lambda run: run["seed"]) for arm, runs in found.items()}


def pack(directory: Path, archive: Path) -> None:
    """The runs below a directory in one file: of the same runs the same bytes."""

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime = member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(archive, "w:xz") as packed:
        for path in sorted(directory.rglob("runs/*.json")):
            packed.add(path, str(path.relative_to(directory)), filter=anonymous)


def table(
    runs: Sequence[Run], measure: Callable[[Mapping[str, Any]], Sequence[float]]
) -> np.ndarray:
    """[runs, questions] of a measure of one node, its mean over a run's nodes."""
    return np.array(
        [np.mean([measure(node) for node in run["nodes"]], axis=0) for run in runs], float
    )


def paired(runs: Sequence[Run], others: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """Those of both whose seeds both have."""
    seeds = {run["seed"] for run in runs} & {run["seed"] for run in others}
    return [r for r in runs if r["seed"] in seeds], [r for r in others if r["seed"] in seeds]


def curve(runs: Sequence[Run], key: str, tokens: np.ndarray) -> np.ndarray:
    """[runs, T]: a curve's mean over a run's nodes, read at these tokens of a node."""
    return np.array(
        [
            np.mean(
                [
                    np.interp(
                        tokens,
                        [point["tokens"] for point in node["curve"]],
                        [point[key] for point in node["curve"]],
                    )
                    for node in run["nodes"]
                ],
                axis=0,
            )
            for run in runs
        ]
    )


def tokens_to(run: Run, accuracy: float) -> float | None:
    """Tokens of a node until the nodes' mean accuracy is there, or None; between points by line."""
    last = min(node["curve"][-1]["tokens"] for node in run["nodes"])
    grid = np.linspace(0, last, 200)
    reached = np.flatnonzero(curve([run], "accuracy", grid)[0] >= accuracy)
    return float(grid[reached[0]]) if len(reached) else None
