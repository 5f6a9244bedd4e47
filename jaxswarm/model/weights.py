"""Weights in and out: the one table from our parameters to Hugging Face's tensors, load and export.

Tensors lie here as they do there. What this module reads is a `Source`; `jaxswarm.model.sources`
makes one out of a name.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from jaxswarm.errors import InputError
from jaxswarm.model import qwen2
from jaxswarm.model.config import ModelConfig
from jaxswarm.model.sharding import param_shardings

_OF_MODEL: Mapping[str, str] = MappingProxyType(
    {
        "embedding": "model.embed_tokens.weight",
        "norm.scale": "model.norm.weight",
        "head.weight": "lm_head.weight",
    }
)
_OF_LAYER: Mapping[str, str] = MappingProxyType(
    {
        "attention_norm.scale": "input_layernorm.weight",
        "attention.query.weight": "self_attn.q_proj.weight",
        "attention.query.bias": "self_attn.q_proj.bias",
        "attention.key.weight": "self_attn.k_proj.weight",
        "attention.key.bias": "self_attn.k_proj.bias",
        "attention.value.weight": "self_attn.v_proj.weight",
        "attention.value.bias": "self_attn.v_proj.bias",
        "attention.out.weight": "self_attn.o_proj.weight",
        "feed_forward_norm.scale": "post_attention_layernorm.weight",
        "feed_forward.gate.weight": "mlp.gate_proj.weight",
        "feed_forward.up.weight": "mlp.up_proj.weight",
        "feed_forward.down.weight": "mlp.down_proj.weight",
    }
)
HEAD = _OF_MODEL["head.weight"]

ParamPath = tuple[Any, ...]
"""Names and layer numbers from the model down to a parameter: ("blocks", 3, "norm", "scale")."""


@dataclass(frozen=True, slots=True)
class Source:
    """A model on disk, whatever its format: its shape, and its tensors by Hugging Face's names."""

    name: str
    """As the user gave it."""
    config: ModelConfig
    shapes: Mapping[str, tuple[int, ...]]
    """Of each tensor there is. One unknown to us keeps its own name."""
    read: Callable[[str], np.ndarray]
    """One tensor, whole, on the host, in the file's float type. Never write into it."""
    tokenizer: Path
    """The directory or .gguf file that holds the tokenizer."""


def hf_name(path: ParamPath) -> str:
    """Hugging Face's name of our parameter, e.g. of ("blocks", 3, "attention", "out", "weight")."""
    if path[0] == "blocks":
        return f"model.layers.{path[1]}.{_OF_LAYER['.'.join(map(str, path[2:]))]}"
    return _OF_MODEL[".".join(map(str, path))]


def hf_tensors(config: ModelConfig) -> dict[str, tuple[ParamPath, tuple[int, ...]]]:
    """All tensors of a model of this shape: name -> (our path, shape)."""
    _, params = qwen2.abstract(config)
    return {
        hf_name(path): (path, param.get_value().shape) for path, param in nnx.to_flat_state(params)
    }


def check(source: Source) -> None:
    """Compares what a source holds with what its config asks for, before anything is read.

    Raises:
      InputError: tensors missing, unexpected or of another shape, each with both shapes.
    """
    expected = {name: shape for name, (_, shape) in hf_tensors(source.config).items()}
    found = {name: tuple(shape) for name, shape in source.shapes.items()}
    if source.config.tie_embeddings:
        # Some files repeat the embedding as a head; the config says that it is none of its own.
        found.pop(HEAD, None)
    misfits = [
        _misfit(name, found.get(name), expected.get(name))
        for name in sorted(found.keys() | expected.keys())
        if found.get(name) != expected.get(name)
    ]
    if misfits:
        more = f"; and {len(misfits) - 4} more" if len(misfits) > 4 else ""
        raise InputError(
            f"tensors of {source.name}",
            got=f"{len(misfits)} that do not fit its config",
            expected="; ".join(misfits[:4]) + more,
            remedy="fetch the model anew, or correct its config",
        )


def load(
    source: Source,
    mesh: Mesh,
    dtype: jax.typing.DTypeLike,
    on_tensor: Callable[[int, int], None] | None = None,
) -> nnx.State:
    """Places a model's parameters on the mesh, piece by piece.

    The host holds one tensor at a time; each device gets its own pieces and no others.

    Args:
      source: from `jaxswarm.model.sources.open_source`.
      mesh: from `jaxswarm.model.sharding.make_mesh`.
      dtype: float32 or bfloat16, whatever the file has.
      on_tensor: told (tensors done, tensors in all) after each.

    Returns:
      The state that `nnx.merge` takes beside the graph of `qwen2.abstract(source.config)`.

    Raises:
      InputError: see `check`.
    """
    check(source)
    _, abstract = qwen2.abstract(source.config)
    places = dict(nnx.to_flat_state(param_shardings(abstract, mesh)))
    # The largest first, while memory is still empty: it is held twice, as read and as placed.
    params = sorted(nnx.to_flat_state(abstract), key=lambda item: -item[1].get_value().size)
    loaded = []
    for done, (path, param) in enumerate(params, start=1):
        placed = _read_onto(places[path].get_value(), source, path, dtype)
        loaded.append((path, param.replace(placed)))
        if on_tensor is not None:
            on_tensor(done, len(params))
    return nnx.from_flat_state(loaded)


def export(params: nnx.State) -> Iterator[tuple[str, np.ndarray]]:
    """The parameters by Hugging Face's names, one at a time on the host."""
    for path, param in nnx.to_flat_state(params):
        yield hf_name(path), np.asarray(jax.device_get(param.get_value()))


def _read_onto(
    place: jax.sharding.Sharding, source: Source, path: ParamPath, dtype: jax.typing.DTypeLike
) -> jax.Array:
    # Under one name, so that what was read is let go before anything is placed.
    tensor = source.read(hf_name(path))
    tensor = np.asarray(tensor, dtype=jnp.dtype(dtype), order="C")
    placed = jax.make_array_from_callback(tensor.shape, place, lambda index: tensor[index])
    # Devices copy in their own time, and until then the host's tensors would pile up.
    return placed.block_until_ready()


def _misfit(name: str, found: tuple[int, ...] | None, expected: tuple[int, ...] | None) -> str:
    if found is None:
        return f"{name} of shape {expected}, which is missing"
    if expected is None:
        return f"no {name}, which is there with shape {found}"
    return f"{name} of shape {expected}, not {found}"
