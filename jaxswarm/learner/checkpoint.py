"""A run's checkpoints: whole ones only, the last few kept, written while the run goes on.

Orbax writes a checkpoint under another name and renames it at the end, so whatever kills the
process leaves the one before usable. The layout is described in `model.checkpoint_source`.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp

from jaxswarm.errors import InputError
from jaxswarm.model import checksums
from jaxswarm.model.checkpoint_source import (
    METADATA,
    MODEL,
    STATE,
    TOKENIZER,
    DamagedError,
    Saved,
    flatten,
    steps,
)
from jaxswarm.model.config import ModelConfig

Tree = TypeVar("Tree")

_HALF_WRITTEN = ".orbax-checkpoint-tmp*"
"""What Orbax adds to a checkpoint's name until it is whole."""

DAMAGED = "damaged"
"""Start of the name of what was a checkpoint and was put aside."""

_DATA_FILE_BYTES = 16 << 20
"""Orbax holds several data files in memory until they are full; its own are of 2 GiB each."""


class Checkpointer:
    """Saves and restores pytrees of arrays with a little JSON. One process writes a directory."""

    def __init__(self, directory: Path, model: ModelConfig, *, keep: int, save_async: bool = True):
        """Makes the directory, and clears what a kill left half written.

        Args:
          directory: of this run alone.
          model: of the run; kept with each checkpoint, and compared when one is restored.
          keep: how many checkpoints stay; older ones are deleted.
          save_async: write in a background thread. While it writes, arrays that it has not written
            yet stay in memory beside those that training makes anew: up to twice the state.

        Raises:
          InputError: the directory can't be written.
        """
        self._directory = directory.absolute()
        self._model = model.to_hf()
        self._save_async = save_async
        self.put_aside: list[str] = []
        self._unsummed: int | None = None
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            enable_async_checkpointing=save_async,
            async_options=ocp.AsyncOptions(post_finalization_callback=self._sum_up)
            if save_async
            else None,
        )
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            for torn in self._directory.glob(f"*{_HALF_WRITTEN}"):
                shutil.rmtree(torn)
            self._manager = ocp.CheckpointManager(self._directory, options=options)
        except OSError as error:
            raise self._unwritable(error) from error

    @property
    def tokenizer_directory(self) -> Path:
        """Where the model's tokenizer belongs, so that a checkpoint is a whole model."""
        return self._directory / TOKENIZER

    def latest(self) -> int | None:
        """The step of the last whole checkpoint; None where there is none."""
        return max(steps(self._directory), default=None)

    def save(self, step: int, state: Any, metadata: Mapping[str, Any]) -> None:
        """Begins to write a checkpoint, once the one before is whole. Then `state` may be donated.

        Args:
          step: above all steps saved before.
          state: a pytree of arrays whose parameters, if it is a run's, are its field `params`.
          metadata: what JSON can hold, with no key "model".

        Raises:
          InputError: no room, or the directory can't be written; this step's or the last one's.
        """
        self.wait()
        arrays = flatten(state)
        self._check_room(step, sum(array.nbytes for array in arrays.values()))
        items = {
            STATE: ocp.args.PyTreeSave(arrays, ocdbt_target_data_file_size=_DATA_FILE_BYTES),
            METADATA: ocp.args.JsonSave({**metadata, MODEL: self._model}),
        }
        self._unsummed = step
        try:
            saved = self._manager.save(step, args=ocp.args.Composite(**items))
            if not self._save_async:
                self._sum_up()
        except (OSError, ValueError) as error:
            raise self._unwritable(error) from error
        assert saved, f"step {step} is not above {self.latest()}"

    def wait(self) -> None:
        """Returns when the checkpoint that is being written is whole.

        Raises:
          InputError: it could not be written.
        """
        try:
            self._manager.wait_until_finished()
        except (OSError, ValueError) as error:
            raise self._unwritable(error) from error

    def restore(self, abstract_state: Tree) -> tuple[Tree, dict[str, Any]]:
        """Reads the last whole checkpoint onto the devices.

        Damaged ones after it are put aside and noted in `put_aside`, so that the run can save those
        steps again.

        Args:
          abstract_state: `jax.ShapeDtypeStruct` with shardings, in the tree that was saved.

        Returns:
          The state, and the metadata that was given to `save`.

        Raises:
          InputError: there is none, all are damaged, or it is of another model.
        """
        damaged: list[tuple[int, DamagedError]] = []
        for step in reversed(steps(self._directory)):
            try:
                restored = self._read(abstract_state, step)
            except DamagedError as error:
                damaged.append((step, error))
                continue
            for bad, error in damaged:
                self._put_aside(bad, error)
            return restored
        if damaged:
            raise damaged[0][1]
        raise InputError(
            f"checkpoint in {self._directory}",
            got="none",
            expected="at least one",
            remedy="name another directory",
        )

    def close(self) -> None:
        """Waits for what is being written, and ends the background thread.

        Raises:
          InputError: the last checkpoint could not be written.
        """
        try:
            self._manager.close()
        except (OSError, ValueError) as error:
            raise self._unwritable(error) from error

    def _read(self, abstract_state: Tree, step: int) -> tuple[Tree, dict[str, Any]]:
        saved = Saved.open(self._directory / str(step))
        metadata = dict(saved.metadata)
        model = metadata.pop(MODEL, {})
        wanted = flatten(abstract_state)
        self._check_fits(step, model, saved.shapes, wanted)
        arrays = saved.read(
            {
                name: ocp.ArrayRestoreArgs(
                    restore_type=jax.Array, sharding=leaf.sharding, dtype=leaf.dtype
                )
                for name, leaf in wanted.items()
            }
        )
        tree = jax.tree.structure(abstract_state)
        return jax.tree.unflatten(tree, [arrays[name] for name in wanted]), metadata

    def _put_aside(self, step: int, error: DamagedError) -> None:
        place = self._directory / f"{DAMAGED}-{step}"
        try:
            if place.exists():
                shutil.rmtree(place)
            (self._directory / str(step)).rename(place)
        except OSError as os_error:
            raise self._unwritable(os_error) from os_error
        self._manager.reload()
        self.put_aside.append(f"checkpoint {step} is damaged ({error.found}): moved to {place}")

    def _sum_up(self) -> None:
        """Runs in the thread that writes, when all is written; before the renaming, if it can."""
        step, self._unsummed = self._unsummed, None
        if step is not None:
            whole = self._directory / str(step)
            checksums.write(next(self._directory.glob(f"{step}{_HALF_WRITTEN}"), whole))

    def _check_room(self, step: int, needed: int) -> None:
        """Tries what Orbax would fail at in many lines of several threads.

        Raises:
          InputError: the disk is too full, or nothing can be made there.
        """
        probe = self._directory / f".{step}.probe"
        try:
            probe.mkdir(exist_ok=True)
            probe.rmdir()
        except OSError as error:
            raise self._unwritable(error) from error
        free = shutil.disk_usage(self._directory).free
        if free < needed:
            raise InputError(
                f"free space for checkpoint {self._directory / str(step)}",
                got=f"{free / 1e6:,.0f} MB",
                expected=f"at least {needed / 1e6:,.0f} MB",
                remedy=f"free some space and start the same command again: {self._goes_on()}",
            )

    def _check_fits(
        self,
        step: int,
        model: Mapping[str, Any],
        shapes: Mapping[str, tuple[int, ...]],
        wanted: Mapping[str, jax.ShapeDtypeStruct],
    ) -> None:
        """Raises: InputError where the checkpoint is not of this run's model and state."""
        for field, expected in self._model.items():
            if model.get(field) != expected:
                raise InputError(
                    f"{field} of the model in checkpoint {self._directory / str(step)}",
                    got=model.get(field),
                    expected=f"{expected!r}, as in --config.model.source",
                    remedy="choose the model that the run began with, or another run directory",
                )
        for name in sorted(shapes.keys() | wanted.keys()):
            found = shapes.get(name)
            expected = wanted[name].shape if name in wanted else None
            if found != expected:
                raise InputError(
                    f"{name} in checkpoint {self._directory / str(step)}",
                    got="nothing" if found is None else found,
                    expected="nothing" if expected is None else str(expected),
                    remedy="start with the settings that the run began with, or choose another "
                    "run directory",
                )

    def _unwritable(self, error: Exception) -> InputError:
        return InputError(
            f"checkpoint directory {self._directory}",
            got=str(error),
            expected="a directory that can be written",
            remedy="free some space or make it writable, then start the same command again: "
            + self._goes_on(),
        )

    def _goes_on(self) -> str:
        latest = self.latest()
        return "it begins anew" if latest is None else f"it goes on from checkpoint {latest}"
