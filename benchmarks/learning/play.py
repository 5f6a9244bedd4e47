"""One run: an arm with a seed, from the start of its nodes to what they know at the end."""

import io
import shutil
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.learning import measures
from benchmarks.learning.arms import Arm, Play
from benchmarks.learning.course import Course
from benchmarks.learning.lab import Lab
from benchmarks.learning.sharing import LockstepNode, Pool
from benchmarks.learning.specialists import KINDS
from benchmarks.learning.twin import Twin
from jaxswarm.learner.checkpoint import Checkpointer
from jaxswarm.node.node import Node
from jaxswarm.node.parts import NodeConfig, Parts
from jaxswarm.node.resume import Start
from jaxswarm.records import STAGES, Position, Stage, StageOutput
from jaxswarm.report.journal import JOURNAL_FILE, Journal, JournalState
from jaxswarm.report.metrics import MetricsWriter
from jaxswarm.report.status import StatusLine
from jaxswarm.setup import settings
from jaxswarm.swarm.local_exchange import Hub, LocalExchange

MEASUREMENTS = 8
"""Points of a learning curve after its start."""

DEADLINE_S = 36_000.0
"""Nobody is left behind: in one process a slow peer is only a busy machine."""


@dataclass
class Member:
    """One node of a run, and what becomes known of it."""

    name: str
    learner: Twin
    config: NodeConfig
    directory: Path
    curve: list[dict[str, float]] = field(default_factory=list)
    error: BaseException | None = None


class PacedExchange(LocalExchange):
    """A local exchange that asks, before each round but the first, whether to go on."""

    def __init__(self, hub: Hub, peer: str, play: Play, goes_on: Callable[[int], bool]):
        super().__init__(hub, peer)
        self._play = play
        self._goes_on = goes_on
        self.stop: Callable[[], None] = lambda: None
        """The node's."""

    def target(self, position: Position, *, joining: bool = False) -> Position:
        if self._play is Play.ANSWER and position.stage_index > 0:
            position = Position(position.round + 1, 0)
        if joining:
            return position
        if position.stage_index == 0 and not self._goes_on(position.round):
            self.stop()
        return position


class PlaceboExchange(PacedExchange):
    """Shows each peer's answers under the next question of its list, its votes where they were."""

    def read(
        self, position: Position, peers: Collection[str], at_most_s: float
    ) -> Mapping[str, StageOutput]:
        found = super().read(position, peers, at_most_s)
        if position.stage is not Stage.ANSWER:
            return found
        return {peer: rotated(output) for peer, output in found.items()}


class NothingKept(Checkpointer):
    """A run that was cut off is played again: it saves nothing on the way."""

    def __init__(self) -> None:
        self.put_aside: list[str] = []

    def latest(self) -> int | None:
        return None

    def save(self, step: int, state: Any, metadata: Mapping[str, Any]) -> None:
        """Does nothing."""


def rotated(output: StageOutput) -> StageOutput:
    texts = [reply.text for reply in output.replies]
    turned = zip(output.replies, [*texts[1:], *texts[:1]], strict=True)
    return replace(output, replies=tuple(replace(reply, text=text) for reply, text in turned))


def play(lab: Lab, arm: Arm, seed: int, tokens: float, directory: Path) -> dict[str, Any]:
    """Runs it and measures it.

    Args:
      lab: what runs share.
      arm: what is tried.
      seed: of the questions and, with the node's number, of the sampling.
      tokens: that one solo node generates.
      directory: for the nodes' figures and texts.

    Returns:
      The run's record, for JSON.
    """
    begun, cpu = time.monotonic(), time.process_time()
    shutil.rmtree(directory, ignore_errors=True)  # of a run that was cut off
    members = [_member(lab, arm, seed, index, directory) for index in range(arm.nodes)]
    before = [_full(lab, member) for member in members]
    groups = [members] if arm.together else [[member] for member in members]
    updates = len(STAGES) if arm.play is Play.STAGES else 1
    hopeless = False
    for group in groups:
        course = Course(
            [member.learner for member in group], updates, tokens * arm.budget, MEASUREMENTS
        )
        for member in group:
            _note(lab, member, begun)
        hopeless |= _run_group(lab, arm, group, course, begun)
    after = [_full(lab, member) for member in members]
    debated = lab.debate([m.learner.ask for m in members], members[0].config, after, seed)
    return {
        "arm": arm.name,
        "seed": seed,
        "hopeless": hopeless,
        "seconds": time.monotonic() - begun,
        "cpu_seconds": time.process_time() - cpu,
        "nodes": [
            {
                "name": member.name,
                "updates": len(member.learner.spent),
                "generated": sum(update.generated for update in member.learner.spent),
                "learnt": sum(update.learnt for update in member.learner.spent),
                "uniform": [round(update.uniform, 3) for update in member.learner.spent],
                "curve": member.curve,
                "before": asdict(first),
                "after": asdict(last),
            }
            for member, (first, _), (last, _) in zip(members, before, after, strict=True)
        ],
        "debate": asdict(debated),
    }


def _member(lab: Lab, arm: Arm, seed: int, index: int, directory: Path) -> Member:
    name = f"node-{index}"
    config = lab.config.copy_and_resolve_references()
    with config.unlocked():
        config.seed = 1000 * seed + index
        config.swarm.seed = seed
        config.rounds = 0
        config.swarm.stage_deadline_s = DEADLINE_S
        config.output.directory = str(directory / name)
        config.output.checkpoint_stages = 1_000_000
        config.evaluation.questions = 0
    kind = KINDS[index % len(KINDS)] if arm.specialists else None
    return Member(name, lab.twin(kind), settings.node(config, name), directory / name)


def _full(lab: Lab, member: Member) -> tuple[measures.Full, list[list[str]]]:
    """By the member's own seed: votes of clones that draw alike would be one vote."""
    plan = lab.plans("corrected")[Stage.ANSWER]
    return measures.full(lab.reader, member.learner.ask, plan, lab.exam, member.config.seed)


def _note(lab: Lab, member: Member, begun: float) -> None:
    """A point of the member's curve."""
    plan = lab.plans("corrected")[Stage.ANSWER]
    found = measures.quick(lab.reader, member.learner.ask, plan, lab.exam.held_out)
    tokens = sum(update.generated for update in member.learner.spent)
    point = {"tokens": tokens, "seconds": time.monotonic() - begun}
    member.curve.append(point | asdict(found))


def _run_group(lab: Lab, arm: Arm, group: list[Member], course: Course, begun: float) -> bool:
    """Plays until the course is over. Returns whether nothing could be learnt."""
    hub, ended = Hub(), []
    pool = Pool(len(group))

    def goes_on_of(member: Member) -> Callable[[int], bool]:
        asked = 0

        def goes_on(rounds: int) -> bool:
            nonlocal asked
            is_first, asked = rounds > asked, rounds  # a node asks more than once
            if is_first:
                # Nodes publish before they learn: outputs don't say that all have learnt.
                pool.wait()
            verdict = course.after(rounds)
            if verdict.measure and is_first:
                _note(lab, member, begun)
            if verdict.over:
                ended.append(verdict.hopeless)
            return not verdict.over

        return goes_on

    exchanges: list[PacedExchange] = []
    if arm.play is not Play.SHARING:
        kind = PlaceboExchange if arm.placebo else PacedExchange
        exchanges = [kind(hub, m.name, arm.play, goes_on_of(m)) for m in group]
        for exchange in exchanges:
            exchange.announce(Position(0, 0), published=False)

    def run(index: int) -> None:
        member = group[index]
        try:
            if arm.play is Play.SHARING:
                _lockstep_node(lab, arm, member, index, pool).run(goes_on_of(member))
            else:
                _run_node(lab, arm, member, exchanges[index])
        except BaseException as error:  # noqa: BLE001 it is raised again where the run was asked for
            member.error = error
            pool.leave()
            if exchanges:
                exchanges[index].close()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(group))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors = [member.error for member in group if member.error is not None]
    # Who waited for the one that failed has only an error about the wait.
    for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
        raise error
    return any(ended)


def _lockstep_node(lab: Lab, arm: Arm, member: Member, index: int, pool: Pool) -> LockstepNode:
    return LockstepNode(
        member.config,
        index,
        member.learner,
        lab.tokenizer,
        lab.plans(arm.rewards)[Stage.ANSWER],
        lab.dataset,
        pool,
        arm.external,
        lab.logprobs if arm.weighted else None,
    )


def _run_node(lab: Lab, arm: Arm, member: Member, exchange: PacedExchange) -> None:
    member.directory.mkdir(parents=True, exist_ok=True)
    journal, metrics = Journal(member.directory / JOURNAL_FILE), MetricsWriter(member.directory)
    quiet = StatusLine(member.directory, console=Console(file=io.StringIO()))
    parts = Parts(
        learner=member.learner,
        tokenizer=lab.tokenizer,
        plans=lab.plans(arm.rewards),
        dataset=lab.dataset,
        exchange=exchange,
        checkpointer=NothingKept(),
        journal=journal,
        metrics=metrics,
        status=quiet,
    )
    node = Node(member.config, parts, Start(Position(0, 0), JournalState({}, {}, ())))
    exchange.stop = node.stop
    try:
        node.run()
    finally:
        for part in (journal, metrics, exchange):
            part.close()
