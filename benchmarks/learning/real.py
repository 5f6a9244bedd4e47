"""A run with real nodes: a process and a p2p daemon each, over the DHT on this machine.

They are what `python -m jaxswarm.main` starts, so their modes are those of `swarm.mode`; a node
that shares rollouts and has no peers is a `solo` one. Each is asked to end when all together have
generated their tokens. No run repeats another exactly; a curve has its two ends alone; and what is
learnt from is counted as what is generated, though shared rollouts differ in length.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.learning import measures
from benchmarks.learning.arms import Arm, Play
from benchmarks.learning.lab import Lab
from benchmarks.learning.twin import Twin
from jaxswarm.errors import InputError
from jaxswarm.launch.processes import LOG_FILE
from jaxswarm.records import Stage
from jaxswarm.report.reports import METRICS_FILE, StageReport, read_reports
from jaxswarm.setup import assemble, flags, settings

LOOK_S = 1.0

CONFIG = """from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict({values!r})
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured of one node at one time."""

    quick: measures.Quick
    full: measures.Full
    texts: list[list[str]]


def play(lab: Lab, arm: Arm, seed: int, tokens: float, directory: Path) -> dict[str, Any]:
    """Runs it and measures it. Arguments and record are those of `benchmarks.learning.play`.

    Raises:
      InputError: real nodes can't do what the arm asks for.
      RuntimeError: a node failed.
    """
    begun = time.monotonic()
    config = _config(lab, arm, seed)
    group = config.grpo.group
    directories = [directory / f"node-{index}" for index in range(arm.nodes)]
    before = [_measure(lab, Twin(lab.learner), seed, index) for index in range(arm.nodes)]
    wanted = tokens * arm.budget * arm.nodes
    _run(_write(config, directory), directories, seed, wanted, group)
    twins = [_restored(lab, config, each) for each in directories]
    after = [_measure(lab, twin, seed, index) for index, twin in enumerate(twins)]
    debated = lab.debate(
        [twin.ask for twin in twins],
        settings.node(config, "node-0"),
        [(found.full, found.texts) for found in after],
        seed,
    )
    return {
        "arm": arm.name,
        "seed": seed,
        "hopeless": False,
        "seconds": time.monotonic() - begun,
        "nodes": [
            _node(each, _stages(each), group, first, last)
            for each, first, last in zip(directories, before, after, strict=True)
        ],
        "debate": asdict(debated),
    }


def _config(lab: Lab, arm: Arm, seed: int) -> flags.Config:
    """The nodes' own, without what differs between them."""
    if arm.specialists or arm.placebo or arm.weighted or not arm.together:
        raise InputError(
            "--real",
            got=arm.name,
            expected="an arm of clones that do what a node can be told to do",
            remedy="leave out --real, or take solo, self-swarm, swarm, published or sharing-4-4",
        )
    config = lab.config.copy_and_resolve_references()
    with config.unlocked():
        config.rounds = 0
        config.output.checkpoint_stages = 1  # what is reported is what is measured at the end
        config.swarm.seed = seed
        config.swarm.enabled = arm.nodes > 1
        config.swarm.mode = settings.STAGED if arm.play is Play.STAGES else settings.SHARING
        config.swarm.external = arm.external or 1
        config.stages.rewards = arm.rewards
        config.evaluation.questions = 0
    return config


def _write(config: flags.Config, directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "config.py"
    path.write_text(CONFIG.format(values=json.loads(config.to_json())))
    return path


def _run(config: Path, directories: Sequence[Path], seed: int, tokens: float, group: int) -> None:
    """Until the nodes have generated so many; then each ends its stage and saves.

    By the launcher, in a process of its own: it forks, and here JAX has its threads.
    """
    out = directories[0].parent
    command = [sys.executable, "-m", "jaxswarm.launch", f"--nodes={len(directories)}"]
    command += [f"--config={config}", f"--config.seed={1000 * seed}", f"--out={out}"]
    with (out / "launch.txt").open("wb") as log:
        launcher = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            while sum(_tokens(_stages(each), group) for each in directories) < tokens:
                if launcher.poll() is not None:
                    raise RuntimeError(
                        f"the nodes ended before their tokens were drawn: {log.name}"
                    )
                time.sleep(LOOK_S)
        finally:
            launcher.terminate()
            launcher.wait()


def _stages(directory: Path) -> tuple[StageReport, ...]:
    return read_reports(directory / METRICS_FILE).stages


def _tokens(stages: Sequence[StageReport], group: int) -> int:
    return round(
        sum(
            report.completion_length * (report.questions - report.skipped_prompts) * group
            for report in stages
        )
    )


def _restored(lab: Lab, config: flags.Config, directory: Path) -> Twin:
    """A learner with what the node's last checkpoint holds."""
    with config.unlocked():
        config.output.directory = str(directory)
    source = assemble.model_source(config)
    checkpointer = assemble.checkpointer(config, source, lab.tokenizer)
    twin = Twin(lab.learner)
    try:
        if checkpointer.latest() is None:
            raise RuntimeError(f"{directory} has no checkpoint: see {LOG_FILE} there")
        twin.restore(checkpointer.restore)
    finally:
        checkpointer.close()
    return twin


def _measure(lab: Lab, twin: Twin, seed: int, index: int) -> Found:
    """By the node's own seed, as in `benchmarks.learning.play`."""
    plan = lab.plans("corrected")[Stage.ANSWER]
    quick = measures.quick(lab.reader, twin.ask, plan, lab.exam.held_out)
    full, texts = measures.full(lab.reader, twin.ask, plan, lab.exam, 1000 * seed + index)
    return Found(quick, full, texts)


def _node(
    directory: Path, stages: Sequence[StageReport], group: int, first: Found, last: Found
) -> dict[str, Any]:
    """Its part of the record."""
    generated = _tokens(stages, group)
    return {
        "name": directory.name,
        "updates": len(stages),
        "generated": generated,
        "learnt": generated,
        "uniform": [round(report.zero_variance_share, 3) for report in stages],
        "curve": [
            {"tokens": 0, "seconds": 0.0} | asdict(first.quick),
            {"tokens": generated, "seconds": stages[-1].seconds} | asdict(last.quick),
        ],
        "before": asdict(first.full),
        "after": asdict(last.full),
    }
