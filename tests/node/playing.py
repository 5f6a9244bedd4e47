"""Plays whole nodes in one process, over an exchange that the test gives them."""

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import pytest

from configs import tiny
from jaxswarm.learner.checkpoint import Checkpointer
from jaxswarm.node.life import Life
from jaxswarm.node.parts import Parts
from jaxswarm.node.resume import resume
from jaxswarm.records import StageOutput
from jaxswarm.report.journal import JOURNAL_FILE, Journal
from jaxswarm.report.metrics import MetricsWriter
from jaxswarm.report.reports import METRICS_FILE, Reports, read_reports
from jaxswarm.report.status import StatusLine
from jaxswarm.run import NODES
from jaxswarm.setup import assemble, settings
from jaxswarm.swarm.local_exchange import Hub, LocalExchange

ROUNDS = 2


@pytest.fixture(scope="module", autouse=True)
def one_device() -> Iterator[None]:
    """These nodes have one of the simulated devices."""
    with pytest.MonkeyPatch.context() as patch:
        first = jax.devices()[:1]
        patch.setattr(jax, "devices", lambda: first)
        yield


def config_of(directory: Path, **changes):
    config = tiny.get_config()
    config.rounds = ROUNDS
    config.stages.questions = 4
    config.grpo.group = 4
    config.generation.limit = 32
    config.grpo.row_buckets = (3,)
    config.evaluation.questions = 8
    config.evaluation.batch = 8
    config.output.directory = str(directory)
    config.output.checkpoint_stages = 1
    config.output.profile_round = -1  # a process can trace one node at a time
    config.swarm.stage_deadline_s = 120.0
    config.seed = 1
    config.update(changes)
    return config


SAVING = threading.Lock()


def save_in_turn(checkpointer: Checkpointer) -> None:
    """Orbax's saves of one process share their signals: two at a time trip over each other."""
    save = checkpointer.save

    def in_turn(*arguments: Any) -> None:
        with SAVING:
            save(*arguments)
            checkpointer.wait()

    checkpointer.save = in_turn


def play(config, exchange: LocalExchange, *, stages: int | None = None) -> bool:
    """Runs a node; with `stages`, it is told to stop when so many are behind it."""
    directory = Path(config.output.directory)
    source = assemble.model_source(config)
    tokenizer = assemble.tokenizer(source)
    exchange.join()
    node_config = settings.node(config, exchange.peer)
    with StatusLine(directory) as status:
        parts = Parts(
            learner=assemble.learner(config, source, status.say),
            tokenizer=tokenizer,
            plans=assemble.plans(config),
            dataset=assemble.data(config),
            exchange=exchange,
            checkpointer=assemble.checkpointer(config, source, tokenizer),
            journal=Journal(directory / JOURNAL_FILE),
            metrics=MetricsWriter(directory),
            status=status,
        )
        save_in_turn(parts.checkpointer)
        start = resume(node_config, parts)
        node = NODES[config.swarm.mode](node_config, parts, start)
        if stages is not None:
            stop_after(node, exchange, stages)
        try:
            return node.run()
        finally:
            for part in (parts.checkpointer, parts.journal, parts.metrics, exchange):
                part.close()


def play_together(configs: Mapping[str, Any]) -> dict[str, bool]:
    """Runs a node of each name in one swarm, each of which waits for the first other one."""
    hub, ended = Hub(), {}

    def run(name: str) -> None:
        configs[name].swarm.first_peers = 1
        ended[name] = play(configs[name], LocalExchange(hub, name))

    threads = [threading.Thread(target=run, args=(name,)) for name in configs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    return ended


def after_publishing(exchange: LocalExchange, follow: Callable[[StageOutput], None]) -> None:
    """Has this happen at once after each output that a node publishes."""
    publish = exchange.publish

    def publish_and_follow(output: StageOutput) -> None:
        publish(output)
        follow(output)

    exchange.publish = publish_and_follow


def stop_after(node: Life, exchange: LocalExchange, stages: int) -> None:
    """Asks the node to stop when it publishes for the given time."""
    publish, count = exchange.publish, [0]

    def counting(output) -> None:
        publish(output)
        count[0] += 1
        if count[0] == stages:
            node.stop()

    exchange.publish = counting


def reports(directory: Path) -> Reports:
    return read_reports(directory / METRICS_FILE)
