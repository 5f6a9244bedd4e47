"""One node: `python -m jaxswarm.main --config configs/gsm8k.py`, on TPU, GPU and CPU alike.

Flags to parts to `Node.run`. Every end has an exit code (jaxswarm/ending.py) and a line of cause.
"""

import contextlib
import os
import sys
import traceback

from absl import flags as absl_flags

from jaxswarm import assemble, flags
from jaxswarm.ending import BUG, DONE, UNUSABLE, Ending, StoppedError, cause
from jaxswarm.errors import InputError
from jaxswarm.node import Node
from jaxswarm.parts import Parts
from jaxswarm.report.journal import JOURNAL_FILE, Journal
from jaxswarm.report.metrics import MetricsWriter
from jaxswarm.report.reports import METRICS_FILE, read_reports
from jaxswarm.report.rundir import NodeCard
from jaxswarm.report.status import StatusLine
from jaxswarm.report.summary import summarise
from jaxswarm.resume import resume


def main() -> int:
    """Returns the exit code."""
    values = absl_flags.FlagValues()
    flags.define(values)
    ending = Ending()
    try:
        with ending.requests():
            config = flags.parse(values)
            finished = run(config, " ".join(sys.argv[1:]), ending)
    except StoppedError as request:
        print(f"stopped on request ({request}) before its first stage; the same command goes on")
        return DONE
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return UNUSABLE
    except Exception as error:  # noqa: BLE001 the last line of a run says why it ended
        traceback.print_exc()
        print(cause(error), file=sys.stderr)
        return BUG
    print("all rounds are done" if finished else "stopped on request; the same command goes on")
    return DONE


def run(config: flags.Config, shown_flags: str, ending: Ending) -> bool:
    """Runs one node to its end.

    Args:
      config: what it is told.
      shown_flags: what a peer would give to join, without an address.
      ending: is told of the node once there is one.

    Returns:
      Whether all rounds are done; False: it was asked to stop.
    """
    directory = assemble.output_directory(config)
    assemble.set_up_jax(config)
    with contextlib.ExitStack() as stack:
        status = stack.enter_context(StatusLine(directory))
        # What is quickly looked at comes first, so that a wrong flag costs seconds, not a download.
        plans, dataset = assemble.plans(config), assemble.data(config)
        source = assemble.model_source(config)
        tokenizer = assemble.tokenizer(source)
        exchange = stack.enter_context(
            contextlib.closing(assemble.exchange(config, dataset, plans, status.say))
        )
        exchange.join()
        node_config = assemble.node_config(config, exchange.peer)
        before = NodeCard.read(directory)
        if before and before.peer != exchange.peer:
            status.say(
                f"this run was peer {before.peer}, from now on it is {exchange.peer}: if its "
                "identity file was lost, stop, put the backup back and start the same command again"
            )
        NodeCard(peer=exchange.peer, addresses=exchange.maddrs, pid=os.getpid()).write(directory)
        if exchange.maddrs:
            status.say(
                "others join by: python -m jaxswarm.main "
                f"{shown_flags} --config.swarm.initial_peers={exchange.maddrs[0]}"
            )
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
        node = Node(node_config, parts, resume(node_config, parts, directory / JOURNAL_FILE))
        ending.of(node.stop, exchange.close)
        finished = node.run()
        summarise(read_reports(directory / METRICS_FILE), finished=finished).write(directory)
    return finished


if __name__ == "__main__":
    sys.exit(main())
