"""Makes the embedded default: word problems, a tokenizer and a tiny Qwen2 model.

    python -m tools.embedded.make [--seed 0] [--target jaxswarm/embedded]

Everything follows from the seed. The model is trained on demonstrations until it answers
`ENOUGH` of fresh training problems right when sampled: by then it solves most of them greedily, and
what it still does wrong is what reinforcement learning can unlearn.
"""

import argparse
import json
import random
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
from flax import nnx
from safetensors.numpy import save_file

import jaxswarm
from jaxswarm.learner.sampling import GREEDY, Sampling
from jaxswarm.model import qwen2, weights
from jaxswarm.model.config import ModelConfig
from jaxswarm.records import Stage
from tools.embedded import problems, supervised, tokenizer
from tools.embedded.accuracy import measure
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
    words.save(directory)
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


def train(words: tokenizer.Words, seed: int) -> nnx.State:
    """Trains until sampled pass@1 on training problems reaches `ENOUGH`; prints how it goes."""
    random_ = random.Random(f"{seed} probe")
    training = problems.draw_distinct(random_, TRAINING, False, PROBE_PROBLEMS)
    held_out = problems.draw_distinct(random_, HELD_OUT, True, PROBE_PROBLEMS)
    graph, _ = qwen2.abstract(CONFIG)
    accuracy = measure(graph, words)
    started = time.monotonic()
    for step, (params, loss) in enumerate(supervised.train(CONFIG, words, seed), start=1):
        if step % REPORT_STEPS == 0:
            print(f"step {step} {time.monotonic() - started:.0f} s  loss {loss:.3f}", flush=True)
        if step % CHECK_STEPS:
            continue
        sampled = accuracy(params, training, Sampling(), 2)
        print(
            f"training {sampled:.1%} sampled {accuracy(params, training, GREEDY, 1):.1%} greedy"
            f"  held out {accuracy(params, held_out, Sampling(), 2):.1%} sampled"
            f" {accuracy(params, held_out, GREEDY, 1):.1%} greedy",
            flush=True,
        )
        if sampled >= ENOUGH:
            return params
        if step >= MOST_STEPS:
            break
    sys.exit(f"after {MOST_STEPS} steps the model is still below {ENOUGH:.0%}: nothing is written")


def save(params: nnx.State, words: tokenizer.Words, directory: Path) -> None:
    """Writes config.json and model.safetensors, in bfloat16: half the size, and quite enough."""
    tensors = {
        name: jnp.asarray(tensor, jnp.bfloat16).__array__()
        for name, tensor in weights.export(params)
    }
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    values = CONFIG.to_hf() | {
        "dtype": "bfloat16",
        "eos_token_id": words.turn_end,
        "pad_token_id": words.padding,
    }
    (directory / "config.json").write_text(json.dumps(values, indent=2) + "\n")


if __name__ == "__main__":
    main()
