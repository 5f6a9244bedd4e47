"""One process of `benchmarks.compile`: builds a node's programs, tells what each of them took."""

import json
import sys
import tempfile
from collections import defaultdict

import jax
import numpy as np

from configs import tiny
from jaxswarm.node import batches
from jaxswarm.node.held_out import evaluate
from jaxswarm.records import STAGES, Discussion, Stage
from jaxswarm.setup import assemble, settings
from jaxswarm.setup.flags import Config

STEPS = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)


def main() -> None:
    """Its one argument: a directory for compiled programs."""
    seconds: defaultdict[str, float] = defaultdict(float)
    compiled: list[str] = []

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event in STEPS:
            name = str(kwargs.get("fun_name", "others"))
            seconds[name] += duration_secs
            if event == STEPS[-1]:
                compiled.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    with tempfile.TemporaryDirectory(prefix="compiling-") as directory:
        config: Config = tiny.get_config()
        config.output.compilation_cache = sys.argv[1]
        config.output.directory = directory
        assemble.set_up_jax(config)
        play(config)
    print(
        json.dumps(
            {
                "total_s": sum(seconds.values()),
                "programs": len(compiled),
                "longest_s": dict(sorted(seconds.items(), key=lambda item: -item[1])[:6]),
            }
        )
    )


def play(config: Config) -> None:
    """The device's part of one stage, and of an evaluation of one batch."""
    source = assemble.model_source(config)
    tokenizer, plans = assemble.tokenizer(source), assemble.plans(config)
    learner, data = assemble.learner(config, source, print), assemble.data(config)
    node = settings.node(config, "compiling")
    discussions = [Discussion(question) for question in data.train[: node.questions]]
    prompts = batches.fit(
        tokenizer,
        [plans[STAGES[0]].messages(discussion) for discussion in discussions],
        node.prompt_buckets,
        node.questions,
    )
    rollout = batches.complete(
        learner.generate,
        tokenizer,
        prompts,
        seed=0,
        group=node.group,
        limit=node.limit,
        sampling=node.sampling,
    )
    rewards = np.arange(len(prompts.kept) * node.group).reshape(-1, node.group) % 2
    learner.step(batches.learning_batch(prompts, rollout, rewards, node.row_buckets))
    evaluate(
        learner.generate,
        tokenizer,
        plans[Stage.ANSWER],
        data.held_out[: node.evaluation.batch],
        node.evaluation,
        lambda *_: None,
    )


if __name__ == "__main__":
    main()
