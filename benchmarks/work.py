"""The work that every side of a benchmark is given, and what each tells of it."""

import importlib.metadata
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

LIBRARIES = ("jax", "jaxlib", "flax", "torch", "transformers", "trl", "tunix")
"""Modules that decide how fast a side is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One GRPO step, repeated: a group of completions for each prompt, then an update on them."""

    name: str
    model: str
    """A directory with a Hugging Face config.json; without weights beside it they are random."""
    dtype: str
    """Of the matmuls: "float32" or "bfloat16". Master weights and moments are float32."""
    prompts: tuple[tuple[int, ...], ...]
    """Token ids."""
    limits: tuple[tuple[int, ...], ...]
    """[questions][G]: so many tokens has each completion; nothing ends a row before."""
    beta: float
    """Above 0: a reference model is in memory."""
    learning_rate: float
    micro_batches: int
    """Pieces of the batch whose gradients are added up, where a side can do that."""
    recompute: bool
    """Each layer again in the backward pass, in place of keeping what it computed."""
    repeats: int
    """Timed ones, after one that is not."""
    train: bool
    """False: completions alone."""

    @property
    def group(self) -> int:
        return len(self.limits[0])

    @property
    def limit(self) -> int:
        """The longest completion."""
        return max(max(row) for row in self.limits)

    @property
    def tokens(self) -> int:
        """Generated in one repeat."""
        return sum(map(sum, self.limits))

    @property
    def is_even(self) -> bool:
        """All completions have the same length: what the peers can be made to do."""
        return {limit for row in self.limits for limit in row} == {self.limit}

    def rewards(self) -> list[list[float]]:
        """[questions][group] rewards that differ inside a group, so that there is a gradient."""
        return [[float(row % 2) for row in range(self.group)] for _ in self.prompts]

    def write(self, directory: Path) -> None:
        (directory / "work.json").write_text(json.dumps(asdict(self)))

    @staticmethod
    def read(directory: Path) -> "Work":
        values = json.loads((directory / "work.json").read_text())
        for name in ("prompts", "limits"):
            values[name] = tuple(map(tuple, values[name]))
        return Work(**values)


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of each timed repeat, and the most memory that was held."""

    first_s: float
    """The repeat that is not timed: it compiles."""
    generate_s: list[float]
    step_s: list[float]
    """Generation and update together; empty where there was no update."""
    peak_gb: float
    """Of the device, in 10^9 bytes; on CPUs the process's resident memory."""
    rates: dict[str, float] = field(default_factory=dict)
    """What the device can do, measured in the same process: see `benchmarks.roofline`."""
    compaction_s: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Where lengths differ: seconds of "generate" and of "update" alone, each "with" compaction and
    "without", in turns, as the rate of a machine that is shared changes from minute to minute."""
    profile: dict[str, float] = field(default_factory=dict)
    """Seconds of one more repeat by part of the work: see `jaxswarm.learner.profile`."""
    versions: dict[str, str] = field(default_factory=dict)
    """Of what the side's process has imported, by distribution."""


def medians(figures: dict[str, Any]) -> dict[str, float]:
    """Of a side's timed repeats, by the names `generate` and `step`."""
    return {
        name: statistics.median(figures[f"{name}_s"])
        for name in ("generate", "step")
        if figures[f"{name}_s"]
    }


def repeat(
    work: Work,
    generate: Callable[[], Any],
    train: Callable[[Any], Any],
    peak_gb: Callable[[], float],
    settle: Callable[[], None] = lambda: None,
) -> Measured:
    """Times `generate`, and `train` on what it gave, `work.repeats` times after a first one.

    Both must return when the work is done, not when it has been asked for. `peak_gb` is that of the
    library which they work with; `settle`, what it does once after its first steps.
    """
    first, generated, steps = 0.0, [], []
    for index in range(work.repeats + 1):
        began = time.perf_counter()
        rollout = generate()
        after_generate = time.perf_counter()
        if work.train:
            train(rollout)
        end = time.perf_counter()
        print(f"  {index}: {after_generate - began:.1f} s, {end - began:.1f} s", file=sys.stderr)
        if index == 0:
            first = end - began
            settle()
        else:
            generated.append(after_generate - began)
            steps.append(end - began)
    return Measured(first, generated, steps if work.train else [], peak_gb())


def jax_peak_gb() -> float:
    """What JAX has held at most on its device."""
    import jax

    if jax.default_backend() == "cpu":
        return _resident_peak_gb()
    return jax.devices()[0].memory_stats()["peak_bytes_in_use"] / 1e9


def torch_peak_gb() -> float:
    """What torch has held at most on its device."""
    import torch

    return (
        torch.cuda.max_memory_allocated() / 1e9
        if torch.cuda.is_available()
        else _resident_peak_gb()
    )


def _resident_peak_gb() -> float:
    """The most that this process has held, in 10^9 bytes. Linux.

    Not ru_maxrss, which begins with what the process had that started this one.
    """
    status = Path("/proc/self/status").read_text()
    (kib,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kib) * 1024 / 1e9


def run(side: Callable[[Work], Measured]) -> None:
    """The main of a side: `python -m benchmarks.sides.SIDE WORK_DIRECTORY`."""
    directory = Path(sys.argv[1])
    measured = replace(side(Work.read(directory)), versions=_versions())
    (directory / f"{Path(sys.argv[0]).stem}.json").write_text(json.dumps(asdict(measured)))


def _versions() -> dict[str, str]:
    """Peers may have an environment of their own, with other versions than this checkout's."""
    of = importlib.metadata.packages_distributions()
    used = {name for module in LIBRARIES if module in sys.modules for name in of.get(module, ())}
    return {name: importlib.metadata.version(name) for name in sorted(used)}
