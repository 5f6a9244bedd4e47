"""A model as transformers loads it: weights, config, generation config, tokenizer, template.

The weights are written one tensor at a time, since the library's own writer wants them all in
memory. The format: https://huggingface.co/docs/safetensors (length, JSON header, bytes).
"""

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxswarm.model.weights import Source, hf_tensors
from jaxswarm.tokenizer import Tokenizer

_DTYPE_NAMES = {"bfloat16": "BF16", "float32": "F32"}
_ALIGNMENT = 8


def write_hf(
    source: Source,
    tokenizer: Tokenizer,
    directory: Path,
    dtype: str,
    on_tensor: Callable[[int, int], None],
) -> None:
    """Writes the whole model.

    Args:
      source: checked by `weights.check`.
      tokenizer: the model's.
      directory: exists.
      dtype: "bfloat16" or "float32".
      on_tensor: told (tensors done, tensors in all) after each.

    Raises:
      OSError: the disk is full or can't be written.
    """
    ends = {"eos_token_id": list(tokenizer.stop_tokens), "pad_token_id": tokenizer.pad_id}
    _write_json(directory / "config.json", source.config.to_hf() | {"dtype": dtype} | ends)
    _write_json(directory / "generation_config.json", ends)
    tokenizer.save(directory)
    _write_safetensors(source, directory / "model.safetensors", dtype, on_tensor)


def _write_safetensors(
    source: Source, file: Path, dtype: str, on_tensor: Callable[[int, int], None]
) -> None:
    # Not all that the source has: of tied models a repeated head is left out.
    shapes = {name: shape for name, (_, shape) in hf_tensors(source.config).items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + math.prod(shape) * jnp.dtype(dtype).itemsize
        header[name] = {
            "dtype": _DTYPE_NAMES[dtype],
            "shape": shape,
            "data_offsets": [start, end],
        }
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % _ALIGNMENT)
    with file.open("wb") as out:
        out.write(struct.pack("<Q", len(encoded)) + encoded)
        for done, name in enumerate(shapes, start=1):
            tensor = np.asarray(source.read(name), dtype=jnp.dtype(dtype), order="C")
            # Not `tofile`, which does not say why it could not write.
            out.write(tensor.reshape(-1).view(np.uint8).data)
            on_tensor(done, len(shapes))


def _write_json(file: Path, values: dict[str, Any]) -> None:
    file.write_text(json.dumps(values, indent=2) + "\n")
