"""Where a model comes from: a directory, a .gguf file, a checkpoint, or the Hugging Face hub."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxswarm.errors import InputError
from jaxswarm.host.paths import typed
from jaxswarm.host.quiet import quiet
from jaxswarm.model.config import ModelConfig
from jaxswarm.model.weights import Source

_CONFIG, _INDEX, _SINGLE = "config.json", "model.safetensors.index.json", "model.safetensors"
_FETCHED = ["*.json", "*.safetensors", "*.jinja", "*.txt"]
_KINDS = "a directory, a .gguf file, or a hub id such as Qwen/Qwen2.5-1.5B-Instruct"
_NAMED_BY = "what named it: --config.model.source, --checkpoint or --source"


def open_source(name: str) -> Source:
    """Finds a model by what the user called it; reads its config and its tensors' shapes.

    Args:
      name: a directory as transformers saves it (one safetensors file or a sharded index), a .gguf
        file, a directory of checkpoints or one of its steps, or the id of a model on the hub.

    Raises:
      InputError: there is no such model, it can't be read, or it is no Qwen2 model.
    """
    with _looked_at(name):
        return _open(name)


def look_up(name: str) -> ModelConfig:
    """The config alone of what `open_source` opens: nothing large is fetched. Raises like it."""
    with _looked_at(name):
        if typed(name).exists() or not _is_hub_id(name):
            return _open(name).config
        return _download(name, weights=False)[1]


@contextmanager
def _looked_at(name: str) -> Iterator[None]:
    """Whatever the system says of a path, there is one line for it."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"model source {name}",
            got=error.strerror or str(error),
            expected="a path that may be read",
            remedy=f"see to its rights, or correct {_NAMED_BY}",
        ) from error


def _open(name: str) -> Source:
    path = typed(name)
    if path.is_file():
        # The gguf library, Orbax, safetensors and the hub's client are needed by those alone who
        # have such a source.
        from jaxswarm.model.gguf_source import open_gguf

        return open_gguf(path)
    if path.is_dir():
        return _open_directory(path)
    if not _is_hub_id(name):
        raise InputError(
            "model source",
            got=name,
            expected=_KINDS,
            remedy=f"there is no such path: correct {_NAMED_BY}",
        )
    return replace(_open_directory(_download(name)[0]), name=name)


def _is_hub_id(name: str) -> bool:
    """OWNER/NAME; anything else was meant as a path."""
    is_path = name.startswith((".", "/", "~")) or name.endswith(".gguf")
    return name.count("/") == 1 and not is_path


def _open_directory(path: Path) -> Source:
    if (path / _CONFIG).is_file():
        return _open_safetensors(path)
    from jaxswarm.model import checkpoint_source

    if checkpoint_source.is_step(path) or checkpoint_source.steps(path):
        return checkpoint_source.open_checkpoint(path)
    raise InputError(
        f"model directory {path}",
        got=sorted(entry.name for entry in path.iterdir()),
        expected=f"{_CONFIG} and safetensors files, or a run's checkpoints",
        remedy=f"correct {_NAMED_BY}",
    )


def _open_safetensors(path: Path) -> Source:
    config = ModelConfig.from_hf(_read_json(path / _CONFIG), source=str(path))
    if (path / _INDEX).is_file():
        names = _read_json(path / _INDEX).get("weight_map", {})
        files = sorted({path / str(file) for file in names.values()})
    else:
        files = [path / _SINGLE]
    file_of, shapes = {}, {}
    for file in files:
        for tensor, shape in _safetensors_shapes(file).items():
            file_of[tensor], shapes[tensor] = file, shape

    def read(tensor: str) -> np.ndarray:
        from safetensors import safe_open

        # Opened anew for each tensor: mapped pages would stay and count as our memory.
        with safe_open(file_of[tensor], framework="np") as opened:
            return opened.get_tensor(tensor)

    return Source(str(path), config, shapes, read, path)


def _safetensors_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"model file {file}",
            got=str(error),
            expected="a whole safetensors file",
            remedy="fetch the model anew; of PyTorch's .bin files, convert it first",
        ) from error


def _read_json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_bytes())
        if not isinstance(values, dict):
            raise ValueError(f"a {type(values).__name__}")
    except (OSError, ValueError) as error:
        raise InputError(
            f"model file {file}",
            got=str(error),
            expected="a JSON object",
            remedy="fetch the model anew",
        ) from error
    return values


def _download(name: str, *, weights: bool = True) -> tuple[Path, ModelConfig]:
    """The hub's snapshot of a model; what is in the cache already is not fetched again."""
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import (
        HFValidationError,
        HTTPError,  # pyright: ignore[reportPrivateImportUsage] # of whichever client the hub uses
        RepositoryNotFoundError,
    )

    try:
        with quiet("huggingface_hub"):
            # First the config alone: gigabytes of a model that this port can't run help nobody.
            file = Path(hf_hub_download(name, _CONFIG))
            config = ModelConfig.from_hf(_read_json(file), source=name)
            if not weights:
                return file.parent, config
            return Path(snapshot_download(name, allow_patterns=_FETCHED)), config
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise InputError(
            f"model source {name}",
            got="no such path here, and no such model on the hub, or none that you may read",
            expected=_KINDS,
            remedy=f"log in to the hub, or correct {_NAMED_BY}",
        ) from error
    except (OSError, HTTPError) as error:
        raise InputError(
            f"model source {name}",
            got=f"no such path here, and the hub gave nothing: {error}",
            expected=_KINDS,
            remedy="see that the hub can be reached, or give a local model, DIR or FILE.gguf, to "
            f"{_NAMED_BY}",
        ) from error
