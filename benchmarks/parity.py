"""Real weights here and in transformers: the same greedy tokens, the same logits, in float32.

    python -m benchmarks.parity --model FILE.gguf --data DIR [--greedy 20] [--logits 3]

The model is converted by tools.convert_weights to what transformers loads. Ours reads the original,
transformers reads the conversion, each in a process of its own (`benchmarks.parity_side`), so that
memory never holds two copies. The prompts are those of the answer stage. Figures go to
results/parity-MODEL.json.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import facts
from benchmarks.parity_side import Task, logits_file, read_greedy
from jaxswarm.records import Discussion, Stage
from jaxswarm.stages import dataset, prompts
from jaxswarm.tokenizer import Tokenizer


def main() -> None:
    """Runs both sides, prints the figures and writes them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, help="GSM8K, as --config.data.source takes it")
    parser.add_argument("--greedy", type=int, default=20, help="prompts to complete greedily")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of a greedy completion")
    parser.add_argument("--logits", type=int, default=3, help="prompts whose logits are compared")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="parity-") as temporary:
        work = Path(temporary)
        converted = work / "hf"
        convert = ["--source", flags.model, "--target", str(converted), "--format", "hf"]
        _call("tools.convert_weights", *convert, "--dtype", "float32")
        task = Task(
            models={"ours": flags.model, "theirs": str(converted)},
            prompts=answer_prompts(converted, flags.data, max(flags.greedy, flags.logits)),
            greedy=flags.greedy,
            tokens=flags.tokens,
            logits=flags.logits,
        )
        task.write(work)
        seconds = {}
        for side in task.models:
            began = time.monotonic()
            _call("benchmarks.parity_side", side, str(work))
            seconds[side] = round(time.monotonic() - began, 1)
        figures = {
            "model": Path(flags.model).name,
            "dtype": "float32",
            "seconds": seconds,
            "greedy": _compare_greedy(work),
            "logits": [_compare_logits(work, index) for index in range(flags.logits)],
        }
    _show(figures)
    print(facts.write(f"parity-{Path(flags.model).stem}", figures))


def answer_prompts(model: Path, data: str, count: int) -> tuple[tuple[int, ...], ...]:
    """Token ids of the answer stage's prompts for the first held-out questions."""
    questions = dataset.load(data, subset="main").held_out[:count]
    chats = [prompts.build(prompts.FULL, Stage.ANSWER, Discussion(q)) for q in questions]
    return tuple(tuple(ids) for ids in Tokenizer(model).encode_prompts(chats))


def _compare_greedy(work: Path) -> dict[str, Any]:
    """How many completions are the same, and of the others where they part and how near a tie."""
    ours, theirs = read_greedy(work, "ours"), read_greedy(work, "theirs")
    apart = []
    for index, (own, other) in enumerate(zip(ours.tokens, theirs.tokens, strict=True)):
        if own != other:
            pairs = enumerate(zip(own, other, strict=False))
            at = next((at for at, (a, b) in pairs if a != b), min(len(own), len(other)))
            apart.append({"prompt": index, "token": at, "margin": theirs.margins[index][at]})
    return {
        "prompts": len(ours.tokens),
        "same": len(ours.tokens) - len(apart),
        "tokens": sum(map(len, theirs.tokens)),
        "smallest_margin": min((m for row in theirs.margins for m in row), default=None),
        "apart": apart,
    }


def _compare_logits(work: Path, index: int) -> dict[str, Any]:
    ours = np.load(logits_file(work, "ours", index), mmap_mode="r")
    theirs = np.load(logits_file(work, "theirs", index), mmap_mode="r")
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    difference = np.abs(ours - theirs)
    return {
        "positions": len(ours),
        "largest_logit": float(np.abs(theirs).max()),
        "max_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
        "same_argmax": float(np.mean(ours.argmax(-1) == theirs.argmax(-1))),
    }


def _show(figures: dict[str, Any]) -> None:
    greedy = figures["greedy"]
    print(f"{figures['model']}, {figures['dtype']}, against transformers")
    if greedy["prompts"]:
        print(
            f"  greedy: {greedy['same']} of {greedy['prompts']} completions the same,"
            f" {greedy['tokens']} tokens; smallest margin {greedy['smallest_margin']:.2g}"
        )
    for apart in greedy["apart"]:
        print("  prompt {prompt} parts at token {token}, margin {margin:.2g}".format(**apart))
    print("  prompt  positions  largest logit  max |difference|     mean  same argmax")
    for index, row in enumerate(figures["logits"]):
        print(
            f"  {index:6}  {row['positions']:9}  {row['largest_logit']:13.2f}"
            f"  {row['max_difference']:16.2e}  {row['mean_difference']:.1e}"
            f"  {row['same_argmax']:11.1%}"
        )


def _call(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", module, *arguments], check=True)


if __name__ == "__main__":
    main()
