"""Models in GGUF files, llama.cpp's format: config, tensor names and dequantised tensors.

The header is read here, since the library's reader makes an object of each of the half million
strings of a vocabulary, which takes half a minute. Block formats and tensor names are the
library's. The layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from jaxswarm.errors import InputError
from jaxswarm.model.config import ModelConfig
from jaxswarm.model.weights import HEAD, Source, hf_tensors

# Type numbers of scalars, and their layouts as `struct` has them.
_SCALARS: Mapping[int, str] = dict(
    zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True)
)
_STRING, _ARRAY = 8, 9
_VERSIONS = (2, 3)
_DEFAULT_ALIGNMENT = 32

_ROWS_AT_A_TIME = 4096
"""Dequantising takes several times the memory of its result: it is done in slabs of rows."""


@dataclass(frozen=True, slots=True)
class _Tensor:
    format: gguf.GGMLQuantizationType
    shape: tuple[int, ...]
    """Rows first, as NumPy has it; GGUF counts from the fastest axis."""
    offset: int
    """From the start of the file."""

    @property
    def row_bytes(self) -> int:
        block, block_bytes = gguf.GGML_QUANT_SIZES[self.format]
        return self.shape[-1] // block * block_bytes

    @property
    def end(self) -> int:
        return self.offset + math.prod(self.shape[:-1]) * self.row_bytes


@dataclass(frozen=True, slots=True)
class _Header:
    metadata: Mapping[str, Any]
    """Numbers and strings by key. Arrays are left out: only the tokenizer has any."""
    tensors: Mapping[str, _Tensor]


def open_gguf(path: Path) -> Source:
    """A Qwen2 model in one .gguf file; each tensor is dequantised to float32 as it is read.

    Raises:
      InputError: no GGUF file, one that is cut off, or another architecture.
    """
    header = _read_header(path)
    config = _config(header, path)
    names = _hf_names(config)
    tensors = {names.get(name, name): tensor for name, tensor in header.tensors.items()}
    return Source(
        name=str(path),
        config=config,
        shapes={name: tensor.shape for name, tensor in tensors.items()},
        read=lambda name: _dequantise(path, tensors[name]),
        tokenizer=path,
    )


def _config(header: _Header, path: Path) -> ModelConfig:
    architecture = header.metadata.get("general.architecture")

    def value(key: str) -> Any:
        found = header.metadata.get(f"{architecture}.{key}")
        # A file stores 1e-6 as the nearest float32; its shortest decimal is what was meant.
        return float(str(np.float32(found))) if isinstance(found, float) else found

    embedding = header.tensors.get("token_embd.weight")
    values = {
        "model_type": architecture,
        "vocab_size": embedding and embedding.shape[0],
        "hidden_size": value("embedding_length"),
        "intermediate_size": value("feed_forward_length"),
        "num_hidden_layers": value("block_count"),
        "num_attention_heads": value("attention.head_count"),
        "num_key_value_heads": value("attention.head_count_kv"),
        "head_dim": value("attention.key_length"),
        "rope_theta": value("rope.freq_base"),
        "rope_scaling": {"rope_type": value("rope.scaling.type") or "default"},
        "rms_norm_eps": value("attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": value("context_length"),
        # No key tells: a file whose head is the embedding just has no head.
        "tie_word_embeddings": "output.weight" not in header.tensors,
    }
    present = {key: value for key, value in values.items() if value is not None}
    return ModelConfig.from_hf(present, source=str(path))


def _hf_names(config: ModelConfig) -> dict[str, str]:
    """GGUF's name of each tensor that a model of this shape may have -> Hugging Face's."""
    table = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.num_layers)
    names = {}
    for name in (*hf_tensors(config), HEAD):
        theirs = table.get_name(name, try_suffixes=(".weight", ".bias"))
        assert theirs is not None, name
        names[theirs] = name
    return names


def _dequantise(path: Path, tensor: _Tensor) -> np.ndarray:
    rows = math.prod(tensor.shape[:-1])
    # Read, not mapped: mapped pages would count as this process's memory.
    raw = np.fromfile(path, np.uint8, count=tensor.end - tensor.offset, offset=tensor.offset)
    raw = raw.reshape(rows, tensor.row_bytes)
    values = np.empty((rows, tensor.shape[-1]), np.float32)
    for start in range(0, rows, _ROWS_AT_A_TIME):
        slab = slice(start, start + _ROWS_AT_A_TIME)
        try:
            values[slab] = gguf.dequantize(raw[slab], tensor.format)
        except NotImplementedError as error:
            raise InputError(
                f"model file {path}",
                got=f"tensors as {tensor.format.name}",
                expected="a block format that the gguf library can dequantise",
                remedy="choose a file in another quantisation, such as Q8_0",
            ) from error
    return values.reshape(tensor.shape)


def _read_header(path: Path) -> _Header:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            header = _Cursor(data).header()
            end = max((tensor.end for tensor in header.tensors.values()), default=0)
            if end > len(data):
                raise ValueError(f"{len(data)} bytes where the header speaks of {end}")
    # A key that is of another type or zero where a number is needed is no file of ours either.
    except (struct.error, OSError, ValueError, LookupError, ArithmeticError, TypeError) as error:
        raise InputError(
            f"model file {path}",
            got=str(error),
            expected="a whole GGUF file of version 2 or 3",
            remedy="fetch it anew",
        ) from error
    return header


class _Cursor:
    """Reads a header from front to back."""

    def __init__(self, data: mmap.mmap):
        self._data = data
        self._at = 0

    def header(self) -> _Header:
        """Raises: struct.error, ValueError or LookupError where the bytes make no sense."""
        magic, version, tensor_count, key_count = self._take("4sIQQ")
        if magic != b"GGUF" or version not in _VERSIONS:
            raise ValueError(f"magic {magic!r}, version {version}")
        metadata = {}
        for _ in range(key_count):
            key = self._string()
            value = self._value(*self._take("I"))
            if value is not None:
                metadata[key] = value
        found = [self._tensor() for _ in range(tensor_count)]
        alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        base = -(-self._at // alignment) * alignment
        return _Header(
            metadata,
            {
                name: _Tensor(gguf.GGMLQuantizationType(kind), shape, base + offset)
                for name, shape, kind, offset in found
            },
        )

    def _tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._string()
        (axes,) = self._take("I")
        shape = self._take(f"{axes}Q")[::-1]
        return (name, shape, *self._take("IQ"))

    def _value(self, kind: int) -> Any:
        """The value, or None for an array, which is passed over."""
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._take(_SCALARS[kind])[0]
        item, count = self._take("IQ")
        if item == _STRING:
            for _ in range(count):
                (length,) = self._take("Q")
                self._at += length
        elif item == _ARRAY:
            for _ in range(count):
                self._value(_ARRAY)
        else:
            self._at += count * struct.calcsize(_SCALARS[item])
        return None

    def _string(self) -> str:
        (length,) = self._take("Q")
        start, self._at = self._at, self._at + length
        if self._at > len(self._data):
            raise ValueError("a string that runs past the end")
        return self._data[start : self._at].decode()

    def _take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + layout, self._data, self._at)
        self._at += struct.calcsize("<" + layout)
        return values
