"""One run of a node, from its config to its last round; setup/assemble.py makes its parts."""

import contextlib
import os
from collections.abc import Mapping, Sequence

from jaxswarm.host.ending import Ending
from jaxswarm.node.life import Life
from jaxswarm.node.node import Node
from jaxswarm.node.parts import Parts
from jaxswarm.node.resume import resume
from jaxswarm.node.sharing_node import SharingNode
from jaxswarm.report.journal import JOURNAL_FILE, Journal
from jaxswarm.report.metrics import MetricsWriter
from jaxswarm.report.reports import METRICS_FILE, read_reports
from jaxswarm.report.rundir import NodeCard, held
from jaxswarm.report.status import StatusLine
from jaxswarm.report.summary import summarise
from jaxswarm.setup import assemble, flags, settings

NODES: Mapping[str, type[Life]] = {settings.STAGED: Node, settings.SHARING: SharingNode}
"""By `swarm.mode`."""


def run(config: flags.Config, words: Sequence[str], ending: Ending) -> bool:
    """Runs one node to its end.

    Args:
      config: what it is told.
      words: the command line that told it so, of which others are shown what they need to join.
      ending: is told of the node once there is one.

    Returns:
      Whether all rounds are done; False: it was asked to stop.
    """
    # What is quickly looked at comes first, so that a wrong flag costs seconds, not a download.
    assemble.check_values(config)
    directory = settings.output_directory(config)
    assemble.set_up_jax(config)
    with contextlib.ExitStack() as stack:
        stack.enter_context(held(directory))
        status = stack.enter_context(StatusLine(directory))
        ending.of_line(status.say, status.close)
        plans, dataset = assemble.plans(config), assemble.data(config)
        assemble.check_data(config, dataset)
        status.say(dataset.counts())
        exchange = stack.enter_context(
            contextlib.closing(assemble.exchange(config, dataset, plans, status.say))
        )
        assemble.check_model(config, assemble.model_config(config))
        source = assemble.model_source(config)
        tokenizer = assemble.tokenizer(source)
        exchange.join()
        node_config = settings.node(config, exchange.peer)
        before = NodeCard.read(directory)
        if before and before.addresses and exchange.maddrs and before.peer != exchange.peer:
            status.say(
                f"this run was peer {before.peer}, from now on it is {exchange.peer}: if its "
                "identity file was lost, stop, put the backup back and start the same command again"
            )
        NodeCard(peer=exchange.peer, addresses=exchange.maddrs, pid=os.getpid()).write(directory)
        if exchange.maddrs:
            status.say(f"others join by: {flags.to_join(words, exchange.maddrs[0])}")
        learner = assemble.learner(config, source, status.say)
        checkpointer = stack.enter_context(
            contextlib.closing(assemble.checkpointer(config, source, tokenizer))
        )
        journal = stack.enter_context(contextlib.closing(Journal(directory / JOURNAL_FILE)))
        metrics = stack.enter_context(contextlib.closing(MetricsWriter(directory)))
        parts = Parts(
            learner=learner,
            tokenizer=tokenizer,
            plans=plans,
            dataset=dataset,
            exchange=exchange,
            checkpointer=checkpointer,
            journal=journal,
            metrics=metrics,
            status=status,
        )
        start = resume(node_config, parts)
        node = NODES[config.swarm.mode](node_config, parts, start)
        ending.of(node.stop, exchange.close)
        finished = node.run()
        summary = summarise(read_reports(directory / METRICS_FILE), finished=finished)
        summary.write(directory)
        if finished and summary.rounds < config.rounds:
            status.say(
                f"{summary.rounds} of {config.rounds} rounds were played and reported whole; the "
                "others were skipped, to keep up with the swarm or after an interruption"
            )
    return finished
