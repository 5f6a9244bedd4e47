"""The fixed works that `benchmarks.generate` and `benchmarks.grpo_step` measure.

  cpu   Qwen2.5-0.5B, float32: one question, 8 completions of exactly 128 tokens
  gpu   Qwen2.5-1.5B, bfloat16: 8 and 32 questions, prompts of 512 tokens, 8 completions of 512
  var   as the one that fits the device, but completions as long as a fixed list of lengths says,
        from 32 tokens to the limit; measured with completions packed for training and without

Temperature 1, no truncation, AdamW, beta 0.001 (a reference in memory); all sides keep what their
layers compute, or with --recompute all compute it again. Weights are random ones of
that shape, and prompts random ids, unless a model and data are given: time depends on neither.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.work import Work

WORKS = ("cpu", "gpu", "var")
_COMMON: dict[str, Any] = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
    "num_key_value_heads": 2,
    "rope_theta": 1e6,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
}
SHAPES: dict[str, dict[str, Any]] = {
    "cpu": _COMMON
    | {
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
    },
    "gpu": _COMMON
    | {
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
    },
}
"""config.json of Qwen2.5-0.5B and of Qwen2.5-1.5B, as published."""


def works(
    name: str,
    directory: Path,
    *,
    on_accelerator: bool,
    train: bool,
    recompute: bool,
    repeats: int,
    model: str,
    data: str,
) -> list[Work]:
    """What is to be measured, one after the other.

    Args:
      name: one of `WORKS`.
      directory: where a model is laid down.
      on_accelerator: which of the two "var" stands for.
      train: whole steps, or completions alone.
      recompute: layers, in the backward pass.
      repeats: timed ones.
      model: as tools.convert_weights takes it; "" for random weights.
      data: GSM8K as --config.data.source takes it; "" for random prompts. Only with a model.

    Raises:
      SystemExit: "cpu" on an accelerator, whose figures would take the place of a CPU's.
    """
    if name == "cpu" and on_accelerator:
        raise SystemExit("error: --work: got cpu on an accelerator; expected gpu or var")
    size = ("gpu" if on_accelerator else "cpu") if name == "var" else name
    directory = directory / size
    _lay_down(directory, SHAPES[size], model)
    width, limit, questions = (90, 128, (1,)) if size == "cpu" else (512, 512, (8, 32))
    made = []
    for count in questions:
        work = Work(
            name=f"{name}-{count * 8}" if size == "gpu" else name,
            model=str(directory),
            dtype="float32" if size == "cpu" else "bfloat16",
            prompts=_prompts(directory, data, count, width),
            limits=((limit,) * 8,) * count,
            beta=0.001,
            learning_rate=1e-6,
            micro_batches=1 if size == "cpu" else count,
            recompute=recompute,
            repeats=repeats,
            train=train,
        )
        if name == "var":
            lengths = np.random.default_rng(0).integers(32, limit + 1, (count, 8))
            lengths.flat[lengths.argmax()] = limit  # so that programs are as large as the even ones
            work = replace(work, limits=tuple(map(tuple, lengths.tolist())))
        made.append(work)
    return made


def _lay_down(directory: Path, shape: dict[str, Any], model: str) -> None:
    if not model:
        directory.mkdir(parents=True)
        (directory / "config.json").write_text(json.dumps(shape))
        return
    convert = ["--source", model, "--target", str(directory), "--format", "hf"]
    command = [sys.executable, "-m", "tools.convert_weights", *convert, "--dtype", "float32"]
    if subprocess.run(command).returncode:
        raise SystemExit(2)  # the line above says why
    _tie(directory)


def _tie(directory: Path) -> None:
    """Drops a head of its own: the published model has none, a .gguf file a second embedding."""
    from safetensors.numpy import load_file, save_file

    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    tensors = load_file(directory / "model.safetensors")
    tensors.pop("lm_head.weight", None)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def _prompts(directory: Path, data: str, count: int, width: int) -> tuple[tuple[int, ...], ...]:
    if not data:
        ids = np.random.default_rng(1).integers(1000, 100_000, (count, width))
        return tuple(map(tuple, ids.tolist()))
    from jaxswarm.stages import dataset
    from jaxswarm.tokenizer import Tokenizer

    questions = dataset.load(data, subset="main").train[:count]
    chats = [[{"role": "user", "content": question.text}] for question in questions]
    return tuple(map(tuple, Tokenizer(directory).encode_prompts(chats)))
