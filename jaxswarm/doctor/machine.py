"""What this machine has, and what the run will need of it."""

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import psutil
from jax.sharding import Mesh
from packaging.requirements import Requirement

from jaxswarm.doctor import container
from jaxswarm.doctor.findings import Finding, Level
from jaxswarm.learner.generate import prompt_pieces
from jaxswarm.learner.micro_batches import pieces
from jaxswarm.model.checkpoint_source import steps
from jaxswarm.model.config import ModelConfig
from jaxswarm.model.sharding import ways_along
from jaxswarm.setup.flags import Config
from jaxswarm.setup.settings import CHECKPOINTS

LARGE_FOR_A_CPU = 100e6
"""Parameters above which a stage on a CPU takes minutes."""
STATE_BYTES = 12
"""Of a parameter in a checkpoint: the master copy and two moments, in float32."""


def requirements() -> tuple[str, ...]:
    """What the installed package asks for, without its extras."""
    asked = importlib.metadata.requires("jaxswarm") or ()
    return tuple(line for line in asked if "extra ==" not in line)


def versions(required: Sequence[str]) -> Iterator[Finding]:
    """Whether each package is there in a version that will do."""
    wrong = []
    for line in required:
        wanted = Requirement(line)
        try:
            found = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{wanted.name} is missing")
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            wrong.append(f"{wanted.name} {found} is not {wanted.specifier}")
    if wrong:
        remedy = "pip install -e . -c constraints.txt"
        yield Finding(Level.FAILURE, "versions", ", ".join(wrong), remedy)
    else:
        python = ".".join(map(str, sys.version_info[:3]))
        yield Finding(
            Level.OK,
            "versions",
            f"Python {python}, JAX {jax.__version__}, {len(required)} packages",
        )


def devices(model: ModelConfig, mesh: Mesh) -> Iterator[Finding]:
    """What JAX sees, and whether it is enough to wait for."""
    kind, count = mesh.devices.flat[0].device_kind, mesh.size
    shape = ", ".join(f"{name} {size}" for name, size in mesh.shape.items())
    found = f"{count} x {kind}, mesh {shape}"
    if mesh.devices.flat[0].platform == "cpu" and model.num_parameters > LARGE_FOR_A_CPU:
        remedy = (
            "if there is an accelerator, install its extra ('.[cuda]' or '.[tpu]'); else expect "
            "minutes a stage"
        )
        yield Finding(Level.WARNING, "devices", found, remedy)
    else:
        yield Finding(Level.OK, "devices", found)
    heads, tensor = model.num_kv_heads, mesh.shape["tensor"]
    if heads % tensor:
        yield Finding(
            Level.WARNING,
            "mesh",
            f"tensor {tensor} cuts inside the model's {heads} key-value heads: keys and values are "
            "gathered in each layer and step",
            f"use mesh.fsdp in its place, or a mesh.tensor that divides {heads}",
        )


def memory(needed: float, had: float) -> Iterator[Finding]:
    """Bytes of one device, or of this machine where devices share its memory."""
    found = f"about {needed / 1e9:.1f} GB needed, {had / 1e9:.1f} GB there"
    remedy = (
        "lower grpo.vocab_slice, raise grpo.micro_batches, lower generation.limit or grpo.group, "
        "spread over more devices by mesh.fsdp, or choose a smaller model"
    )
    if needed > had:
        yield Finding(Level.FAILURE, "memory", found, remedy)
    elif needed > 0.85 * had:
        yield Finding(Level.WARNING, "memory", found, remedy)
    else:
        yield Finding(Level.OK, "memory", found)


def memory_needed(config: Config, model: ModelConfig, mesh: Mesh, dtype: str) -> float:
    """Bytes on one device at the peak, where a prompt fills the largest bucket.

    An estimate, good to a quarter or so. Attention computes with two arrays of the size of its
    scores, and with a third in a backward pass, of one layer at a time.
    """
    grpo, generation = config.grpo, config.generation
    width = 2 if dtype == "bfloat16" else 4
    fsdp, tensor = mesh.shape["fsdp"], mesh.shape["tensor"]
    copy = width if width < 4 else 0  # in the dtype of the matmuls
    held = STATE_BYTES + (width if grpo.beta else 0)
    if mesh.devices.flat[0].platform == "cpu":
        held += STATE_BYTES  # what a checkpoint that is being written holds; else on the host
    of_weight = model.num_parameters / tensor
    weights = held * of_weight / fsdp
    P, C, heads = max(generation.prompt_buckets), generation.limit, model.num_heads
    ways = ways_along("question", config.stages.questions, mesh)
    questions = config.stages.questions // ways

    read_at_a_time = questions // prompt_pieces(questions, P, heads)
    of_token = model.num_layers * 2 * model.num_kv_heads * model.head_dim * width
    cache = questions * (P + grpo.group * C) * of_token
    whole = (width if fsdp > 1 else copy) * of_weight  # gathered for all tokens
    generating = whole + cache + 2 * 4 * read_at_a_time * heads * P**2

    cut_into = pieces(grpo.micro_batches, config.stages.questions, ways)
    asked, rows = questions / cut_into.by_question, questions * grpo.group / cut_into.count
    logits = 2 * 4 * rows * C * min(grpo.vocab_slice, model.vocab_size)
    tokens = asked * P + rows * C
    layers, of_layer = model.num_layers, _of_layer(model)
    values = layers * model.hidden_size + of_layer if grpo.remat else layers * of_layer
    kept = tokens * values * width
    # The gradients so far, where pieces are added up, and those of a piece.
    gradients = (4 + copy + (4 if cut_into.count > 1 else 0)) * of_weight / fsdp
    learning = gradients + logits + kept + 3 * 4 * heads * max(asked * P**2, rows * C * (P + C))
    return weights + max(generating, learning)


def _of_layer(model: ModelConfig) -> int:
    """Values that the backward pass keeps of a token: what a layer's matmuls with weights gave."""
    heads = (model.num_heads + 2 * model.num_kv_heads) * model.head_dim
    return 2 * model.intermediate_size + 3 * model.hidden_size + heads


def memory_had(mesh: Mesh) -> float:
    """Bytes that one device of the mesh can give."""
    device = mesh.devices.flat[0]
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    return min(psutil.virtual_memory().available, container.memory_left()) / mesh.size


def disk(directory: Path, model: ModelConfig, keep: int) -> Iterator[Finding]:
    """Whether the run's directory can be written, and has room for the checkpoints to come."""
    there, checkpoints = directory.absolute(), directory / CHECKPOINTS
    while not os.path.exists(there):  # Path's own raises below what may not be entered
        there = there.parent
    to_fill = os.W_OK | os.X_OK
    is_closed = os.path.exists(checkpoints) and not os.access(checkpoints, os.R_OK | to_fill)
    if not there.is_dir() or not os.access(there, to_fill) or is_closed:
        remedy = "name another one by --config.output.directory, or make it writable"
        yield Finding(Level.FAILURE, "disk", f"{directory} can't be made or written", remedy)
        return
    free, one = shutil.disk_usage(there).free, STATE_BYTES * model.num_parameters
    held = len(steps(checkpoints))
    found = f"{free / 1e9:.1f} GB free for {keep} checkpoints of {one / 1e9:.1f} GB and a new one"
    if held:
        found += f", {held} of them there"
    remedy = "free some space, or name another place by --config.output.directory"
    if free < one:
        yield Finding(Level.FAILURE, "disk", found, remedy)
    elif free < (keep + 1 - held) * one:
        yield Finding(Level.WARNING, "disk", found, f"{remedy}; or lower output.keep_checkpoints")
    else:
        yield Finding(Level.OK, "disk", found)
