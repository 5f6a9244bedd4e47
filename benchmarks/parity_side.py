"""One side of `benchmarks.parity`: greedy completions and logits, left as files.

python -m benchmarks.parity_side ours|theirs WORK
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Task:
    """What both sides do. Prompts are token ids."""

    models: dict[str, str]
    """Of each side, where its weights are."""
    prompts: tuple[tuple[int, ...], ...]
    greedy: int
    """How many prompts to complete."""
    tokens: int
    logits: int
    """Of how many prompts the logits are kept."""

    def write(self, work: Path) -> None:
        (work / "task.json").write_text(json.dumps(asdict(self)))

    @staticmethod
    def read(work: Path) -> "Task":
        return Task(**json.loads((work / "task.json").read_text()))


@dataclass(frozen=True, slots=True)
class Greedy:
    """Completions up to their stop tokens, these included."""

    tokens: list[list[int]]
    margins: list[list[float]]
    """Between each token's logit and the runner-up's; empty where a side does not tell."""


def read_greedy(work: Path, side: str) -> Greedy:
    return Greedy(**json.loads((work / f"{side}.json").read_text()))


def logits_file(work: Path, side: str, index: int) -> Path:
    """[positions, V] float32 of one prompt."""
    return work / f"{side}-{index}.npy"


def ours(task: Task) -> tuple[Greedy, Iterator[np.ndarray]]:
    """This project's model and its generation."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from jaxswarm.learner.generator import Generator
    from jaxswarm.learner.sampling import GREEDY
    from jaxswarm.model import precision, qwen2, weights
    from jaxswarm.model.sharding import make_mesh
    from jaxswarm.model.sources import open_source
    from jaxswarm.tokenizer import Tokenizer

    precision.set_for("float32")
    source = open_source(task.models["ours"])
    tokenizer = Tokenizer(source.tokenizer)
    mesh = make_mesh(data=1, fsdp=1, tensor=1, devices=jax.devices()[:1])
    params = weights.load(source, mesh, "float32")
    graph, _ = qwen2.abstract(source.config)

    @jax.jit
    def logits_of(params: nnx.State, token_T: jax.Array) -> jax.Array:
        model = nnx.merge(graph, params)
        return model.logits(model(token_T[None, None])[0][0, 0])

    tokens = []
    if task.greedy:
        prompts = task.prompts[: task.greedy]
        rollout = Generator(graph, mesh, "float32")(
            params,
            *tokenizer.pad(prompts, [max(map(len, prompts))]),
            seed=0,
            group=1,
            limit=task.tokens,
            sampling=GREEDY,
            stop_tokens=tokenizer.stop_tokens,
        )
        tokens = [
            row[0, : length[0]].tolist()
            for row, length in zip(rollout.token_QxGxC, rollout.length_QxG, strict=True)
        ]
    kept = task.prompts[: task.logits]
    return Greedy(tokens, []), (np.asarray(logits_of(params, jnp.array(ids))) for ids in kept)


def theirs(task: Task) -> tuple[Greedy, Iterator[np.ndarray]]:
    """transformers, one prompt at a time, so that no padding has a part in it."""
    import torch
    from transformers import Qwen2ForCausalLM

    model: Any = Qwen2ForCausalLM.from_pretrained(task.models["theirs"], dtype=torch.float32).eval()
    tokens, margins = [], []
    for ids in task.prompts[: task.greedy]:
        done = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            do_sample=False,
            max_new_tokens=task.tokens,
            return_dict_in_generate=True,
            output_logits=True,
        )
        tokens.append(done.sequences[0, len(ids) :].tolist())
        best_Cx2 = torch.cat(done.logits).topk(2).values
        margins.append((best_Cx2[:, 0] - best_Cx2[:, 1]).tolist())

    def logits() -> Iterator[np.ndarray]:
        for ids in task.prompts[: task.logits]:
            with torch.no_grad():
                yield model(torch.tensor([ids])).logits[0].numpy()

    return Greedy(tokens, margins), logits()


SIDES: dict[str, Callable[[Task], tuple[Greedy, Iterator[np.ndarray]]]] = {
    "ours": ours,
    "theirs": theirs,
}


def main() -> None:
    side, work = sys.argv[1], Path(sys.argv[2])
    greedy, logits = SIDES[side](Task.read(work))
    (work / f"{side}.json").write_text(json.dumps(asdict(greedy)))
    for index, logits_TxV in enumerate(logits):
        np.save(logits_file(work, side, index), logits_TxV)


if __name__ == "__main__":
    main()
