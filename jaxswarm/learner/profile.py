"""Where the device's time goes: a trace of what ran, each operation under its part of the work.

Operations are known by the names that XLA gave them. Which part of the work each belongs to stands
in the metadata of the compiled programs: the `jax.named_scope` that it was traced in.
"""

import re
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.profiler import ProfileData, ProfileOptions

PROMPT, DECODE, SAMPLE = "prompt", "decode", "sample"
REFERENCE, LOGPROBS, BACKWARD, OPTIMIZER = "reference", "logprobs", "backward", "optimizer"
OTHERS, HOST = "others", "host"
PARTS = (PROMPT, DECODE, SAMPLE, REFERENCE, LOGPROBS, BACKWARD, OPTIMIZER, OTHERS, HOST)

_NAME = re.compile(r"\s*(?:ROOT )?%?([\w.-]+) = ")
_SCOPES = re.compile(r"op_name=\"([^\"]*)\"")
_CONTAINER = re.compile(r" (while|conditional|call)\(")
"""Operations whose time is that of others."""
_RETURNS_EARLY = re.compile(r" dot\(")
"""On CPUs a plain matmul (each weight's gradient is one) is handed to a pool of threads: what the
trace shows of it is the handing over."""


class Profile:
    """What a trace came to."""

    def __init__(self) -> None:
        """Empty until the traced block is over."""
        self.seconds: dict[str, float] = {}
        """By part of `PARTS`; they add up to the wall time of the block. Empty without a trace."""
        self.missing = ""
        """Why there is no trace."""

    def __str__(self) -> str:
        if not self.seconds:
            return f"not known ({self.missing})"
        whole = sum(self.seconds.values())
        shares = (
            f"{part} {self.seconds[part] / whole:.1%}"
            for part in PARTS
            if self.seconds.get(part, 0.0) > 0
        )
        return f"{', '.join(shares)} of {whole:.1f} s"


@contextmanager
def profiled() -> Iterator[Profile]:
    """Traces what runs in the block. Costs some time and memory for each operation that ran.

    On GPUs XLA uses no CUDA graphs while it is traced: the host's share is larger than otherwise.

    Where no trace can be had, because another one is being taken, or this one can't be read, the
    block runs all the same.
    """
    found = Profile()
    directory = Path(tempfile.mkdtemp(prefix="jaxswarm-profile-"))
    options = ProfileOptions()
    options.python_tracer_level = 0
    try:
        with _noted(found):
            jax.profiler.start_trace(str(directory), profiler_options=options)
        if found.missing:
            yield found
            return
        began = time.perf_counter()
        try:
            yield found
        finally:
            wall_s = time.perf_counter() - began
            with _noted(found):
                jax.profiler.stop_trace()
        with _noted(found):
            (trace,) = directory.rglob("*.xplane.pb")
            found.seconds = _by_part(ProfileData.from_file(str(trace)), wall_s)
            if not found.seconds:
                raise LookupError("the trace names no operation of the parts")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _noted(found: Profile) -> Iterator[None]:
    """Nothing that a profiler does ends a run: the first error in it is why there is no profile."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 whatever it is
        found.missing = found.missing or f"{type(error).__name__}: {error}"


def _by_part(trace: Any, wall_s: float) -> dict[str, float]:
    """Seconds by part; none where no operation of ours was found.

    An accelerator may trace kernels without the operation that they belong to. What is not found
    there must not pass for the host's time.
    """
    operations = list(_operations(trace))
    programs = _instructions({operation.module for operation in operations})
    busy: defaultdict[str, float] = defaultdict(float)
    spans: list[tuple[float, float]] = []
    for event in _with_waits(operations, programs):
        part = programs.get((event.module, event.name), _UNKNOWN).part
        busy[part] += event.end_ns - event.start_ns
        spans.append((event.start_ns, event.end_ns))
    if busy.keys() <= {OTHERS}:
        return {}
    device_s = min(_union(spans) / 1e9, wall_s)
    # Operations overlap where a device has several queues; their shares are of the time it worked.
    scale = device_s / sum(busy.values())
    return {part: time_ns * scale for part, time_ns in busy.items()} | {HOST: wall_s - device_s}


class _Operation(NamedTuple):
    """One run of one operation of a compiled program."""

    module: str
    run: int
    name: str
    start_ns: float
    end_ns: float


class _Instruction(NamedTuple):
    """What the compiled program tells of an operation."""

    part: str
    is_container: bool
    returns_early: bool


_UNKNOWN = _Instruction(OTHERS, is_container=False, returns_early=False)


def _operations(trace: Any) -> Iterator[_Operation]:
    for plane in trace.planes:
        for line in plane.lines:
            for event in line.events:
                stats = dict(event.stats)
                if "hlo_op" in stats and "hlo_module" in stats:
                    yield _Operation(
                        str(stats["hlo_module"]),
                        int(stats.get("run_id", 0)),
                        str(stats["hlo_op"]),
                        event.start_ns,
                        event.start_ns + event.duration_ns,
                    )


def _with_waits(
    operations: Iterable[_Operation], programs: Mapping[tuple[str, str], _Instruction]
) -> Iterator[_Operation]:
    """What ran, containers apart, and the time that a program waited for what returned early."""
    reached, last, awaited = 0.0, None, None
    for event in sorted(operations, key=lambda event: event.start_ns):
        known = programs.get((event.module, event.name), _UNKNOWN)
        if known.is_container:
            continue
        if last is None or event.run != last.run:
            awaited = None
        elif awaited is not None and event.start_ns > reached:
            yield awaited._replace(start_ns=reached, end_ns=event.start_ns)
        yield event
        if known.returns_early:
            awaited = event
        reached, last = max(reached, event.end_ns), event


def _instructions(modules: Set[str]) -> Mapping[tuple[str, str], _Instruction]:
    """(program, operation) -> what it is, of these programs."""
    found: dict[tuple[str, str], _Instruction] = {}
    for program in jax.devices()[0].client.live_executables():
        for module in program.hlo_modules():
            if module.name not in modules:
                continue
            part = OTHERS
            for line in module.to_string().splitlines():
                name, scopes = _NAME.match(line), _SCOPES.search(line)
                if name is None:
                    part = OTHERS  # another computation begins
                    continue
                # XLA names none of what it made itself, as the matmuls of one row: such an
                # instruction belongs to the part of the one that runs before it.
                part = part_of(scopes[1]) if scopes else part
                found[module.name, name[1]] = _Instruction(
                    part,
                    is_container=_CONTAINER.search(line) is not None,
                    returns_early=_RETURNS_EARLY.search(line) is not None,
                )
    return found


def part_of(scopes: str) -> str:
    """The part of the work that XLA's `op_name` tells of: "jit(step)/transpose(jvp(...))/mul"."""
    names = set(re.split(r"[/()]+", scopes))
    # In the backward pass an operation is under the names of the forward pass as well. Without a
    # parenthesis it is an array that is transposed.
    if "transpose(" in scopes:
        return BACKWARD
    return next((part for part in PARTS if part in names), OTHERS)


def _union(spans: list[tuple[float, float]]) -> float:
    """The time that is covered by any of the spans."""
    covered, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered
