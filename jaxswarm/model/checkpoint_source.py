"""Where a checkpoint keeps what, and its parameters as a source of weights.

    DIR/tokenizer/          the model's tokenizer, as transformers saves it
    DIR/<step>/state/       Orbax: arrays by dotted names, the parameters' under "params."
    DIR/<step>/metadata/    JSON: the model's config under "model", and what the writer adds
    DIR/<step>/checksums.json

`jaxswarm.learner.checkpoint` writes a run's; `tools.convert_weights` writes one that holds
parameters only. Either is read here, without the optimizer's state.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxswarm.errors import InputError
from jaxswarm.model import checksums
from jaxswarm.model.config import ModelConfig
from jaxswarm.model.weights import Source, hf_tensors

TOKENIZER, STATE, METADATA = "tokenizer", "state", "metadata"
MODEL = "model"
"""Key of the model's config, as config.json has it, in the metadata."""
PARAMS = "params"
"""Field of the parameters in the state."""


def flatten(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by dotted names: "params.blocks.0.attention.key.bias.value"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def steps(directory: Path) -> list[int]:
    """The steps of the whole checkpoints there, ascending. One in the making does not count."""
    if not directory.is_dir():
        return []
    return sorted(found.step for found in ocp.step.standard_name_format().find_all(directory))


class DamagedError(InputError):
    """A checkpoint that was whole once and isn't now."""

    def __init__(self, path: Path, found: object):
        self.found = found
        super().__init__(
            f"checkpoint {path}",
            got=found,
            expected="a whole checkpoint, as a run or tools.convert_weights writes it",
            remedy="choose another step: move this directory away, and the one before counts",
        )


@dataclass(frozen=True, slots=True)
class Saved:
    """One whole checkpoint on the disk."""

    path: Path
    metadata: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    """Of the arrays by their dotted names."""

    @staticmethod
    def open(path: Path) -> "Saved":
        """Reads what a checkpoint holds, no arrays yet.

        Args:
          path: the directory of one step.

        Raises:
          DamagedError: it is no checkpoint of this layout, or damaged.
        """
        try:
            if damage := checksums.fault(path):
                raise DamagedError(path, damage)
            asked = ocp.args.Composite(**{METADATA: ocp.args.JsonRestore()})
            metadata = _reader().restore(path, args=asked)[METADATA]
            items = _reader().metadata(path).item_metadata
            if items is None or items[STATE] is None:
                raise ValueError("no state")
            shapes = {name: tuple(array.shape) for name, array in items[STATE].tree.items()}
        except (OSError, ValueError, LookupError) as error:
            raise DamagedError(path, str(error)) from error
        return Saved(path, metadata, shapes)

    def read(self, wanted: Mapping[str, ocp.RestoreArgs]) -> dict[str, Any]:
        """Reads these arrays and no others, each as its restore arguments say.

        Raises:
          DamagedError: what is in a file is no array of that shape.
        """
        assert wanted.keys() <= self.shapes.keys(), wanted.keys() - self.shapes.keys()
        item = ocp.args.PyTreeRestore(
            item=dict.fromkeys(wanted, 0), restore_args=dict(wanted), partial_restore=True
        )
        try:
            return _reader().restore(self.path, args=ocp.args.Composite(**{STATE: item}))[STATE]
        except Exception as error:
            # Orbax hands on what TensorStore says as a bare Exception.
            if type(error) is not Exception and not isinstance(error, ValueError):
                raise
            raise DamagedError(self.path, " ".join(str(error).split())) from error


def open_checkpoint(directory: Path) -> Source:
    """The parameters of the latest checkpoint in `directory`, or of the step that it is.

    Raises:
      InputError: what is there can't be read as a checkpoint of a Qwen2 model.
    """
    if is_step(directory):
        root, step = directory.parent, directory
    else:
        root, step = directory, directory / str(steps(directory)[-1])
    saved = Saved.open(step)
    config = ModelConfig.from_hf(saved.metadata.get(MODEL, {}), source=str(step))
    of_name = {
        name: f"{PARAMS}.{'.'.join(map(str, path))}.value"
        for name, (path, _) in hf_tensors(config).items()
    }
    hf_of = {ours: name for name, ours in of_name.items()}
    shapes = {
        hf_of.get(ours, ours): shape
        for ours, shape in saved.shapes.items()
        if ours.startswith(f"{PARAMS}.")
    }

    def read(name: str) -> np.ndarray:
        ours = of_name[name]
        whole = ocp.RestoreArgs(restore_type=np.ndarray)
        return saved.read({ours: whole})[ours]

    return Source(str(directory), config, shapes, read, root / TOKENIZER)


def is_step(directory: Path) -> bool:
    """Whether this is the directory of one checkpoint, not of all of a run."""
    return directory.name.isdigit() and (directory / STATE).is_dir()


def _reader() -> ocp.Checkpointer:
    handler = ocp.CompositeCheckpointHandler(
        **{STATE: ocp.PyTreeCheckpointHandler(), METADATA: ocp.JsonCheckpointHandler()}
    )
    return ocp.Checkpointer(handler)
