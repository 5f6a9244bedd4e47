"""Makes the embedded default: word problems, a tokenizer and a tiny Qwen2 model.

    python -m tools.embedded.make [--seed 0] [--target jaxswarm/embedded]

Everything follows from the seed. The model is trained on demonstrations until it answers
`ENOUGH` of fresh training problems right when sampled: by then it solves most of them greedily, and
what it still does wrong is what reinforcement learning can unlearn.
"""

import argparse
import random
import re
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import jax
from flax import nnx

import jaxswarm
from jaxswarm.learner.generator import Generate, Generator
from jaxswarm.model import qwen2, sharding, weights
from jaxswarm.model.config import ModelConfig
from jaxswarm.node.held_out import EvaluationConfig, evaluate
from jaxswarm.records import Stage
from jaxswarm.stages import registry
from jaxswarm.tokenizer import Tokenizer
from tools.convert_weights.hf import write_hf
from tools.embedded import problems, supervised, tokenizer
from tools.embedded.demonstrations import demonstrate
from tools.embedded.templates import HELD_OUT, TRAINING

TRAINING_PROBLEMS = 2000
HELD_OUT_PROBLEMS = 400

CONFIG = ModelConfig(
    vocab_size=tokenizer.VOCABULARY,
    hidden_size=96,
    intermediate_size=256,
    num_layers=4,
    num_heads=4,
    num_kv_heads=2,
    head_dim=24,
    rope_theta=10_000.0,
    rms_norm_eps=1e-6,
    tie_embeddings=True,
    max_positions=512,
)

ENOUGH = 0.35
"""Share of right answers, sampled, at which training stops."""

REPORT_STEPS = 25
CHECK_STEPS = 100
MOST_STEPS = 3000
PROBE_PROBLEMS = 256


def main() -> None:
    """Writes `problems/` and `model/` under the target directory."""
    parser = argparse.ArgumentParser(description="Makes the embedded default.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", type=Path, default=Path(jaxswarm.__file__).parent / "embedded")
    arguments = parser.parse_args()

    words = tokenizer.train(corpus(arguments.seed))
    params = train(words, arguments.seed)
    problems.write_data_set(
        arguments.target / "problems", arguments.seed, TRAINING_PROBLEMS, HELD_OUT_PROBLEMS
    )
    directory = arguments.target / "model"
    directory.mkdir(parents=True, exist_ok=True)
    save(params, words, directory)


def corpus(seed: int) -> Iterator[str]:
    """What the tokenizer learns its words from: prompts and replies of all stages, without tags."""
    random_ = random.Random(f"{seed} corpus")
    for _ in range(3000):
        for stage in Stage:
            problem = problems.draw(random_, TRAINING, held_out=False)
            shown = demonstrate(random_, stage, problem, 1)
            for message in shown.messages:
                yield message["role"]
                yield message["content"]
            yield "assistant"
            yield from re.split("|".join(tokenizer.reply_tags()), shown.replies[0])


def train(words: Tokenizer, seed: int) -> nnx.State:
    """Trains until sampled pass@1 on training problems reaches `ENOUGH`; prints how it goes."""
    random_ = random.Random(f"{seed} probe")
    probes = {
        "training": problems.draw_distinct(random_, TRAINING, False, PROBE_PROBLEMS),
        "held out": problems.draw_distinct(random_, HELD_OUT, True, PROBE_PROBLEMS),
    }
    graph, _ = qwen2.abstract(CONFIG)
    mesh = sharding.make_mesh(data=1, fsdp=1, tensor=1, devices=jax.devices()[:1])
    generator = Generator(graph, mesh, "float32")
    started = time.monotonic()
    for step, (params, loss) in enumerate(supervised.train(CONFIG, words, seed), start=1):
        if step % REPORT_STEPS == 0:
            print(f"step {step} {time.monotonic() - started:.0f} s  loss {loss:.3f}", flush=True)
        if step % CHECK_STEPS:
            continue
        generate = partial(generator, params)
        found = {name: accuracy(generate, words, probe) for name, probe in probes.items()}
        for name, (sampled, greedy) in found.items():
            print(f"{name} {sampled:.1%} sampled {greedy:.1%} greedy", flush=True)
        if found["training"][0] >= ENOUGH:
            return params
        if step >= MOST_STEPS:
            break
    sys.exit(f"after {MOST_STEPS} steps the model is still below {ENOUGH:.0%}: nothing is written")


def accuracy(
    generate: Generate, words: Tokenizer, probe: Sequence[problems.Problem], samples: int = 2
) -> tuple[float, float]:
    """pass@1 in [0, 1] on the problems, sampled and greedy."""
    shape = supervised.SHAPES[Stage.ANSWER]
    config = EvaluationConfig(
        questions=len(probe),
        samples=samples,
        batch=len(probe),
        limit=shape.reply_width,
        prompt_buckets=(shape.prompt_width,),
        seed=0,
    )
    plan = registry.plans("terse", "corrected")[Stage.ANSWER]
    asked = [problem.asked for problem in probe]
    found = evaluate(generate, words, plan, asked, config, lambda *_: None)
    assert found.sampled is not None
    return found.sampled, found.greedy


def save(params: nnx.State, words: Tokenizer, directory: Path) -> None:
    """Writes the model as transformers loads it, in bfloat16: half the size, and quite enough."""
    tensors = dict(weights.export(params))
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    source = weights.Source("embedded", CONFIG, shapes, tensors.__getitem__, directory)
    write_hf(source, words, directory, "bfloat16", lambda *_: None)


if __name__ == "__main__":
    main()
