"""One model from any source to a new directory that is either whole or not there."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
from tqdm import tqdm

from jaxswarm.errors import InputError
from jaxswarm.learner.checkpoint import Checkpointer
from jaxswarm.model import weights
from jaxswarm.model.checkpoint_source import PARAMS
from jaxswarm.model.sharding import make_mesh
from jaxswarm.model.sources import open_source
from jaxswarm.model.weights import Source
from jaxswarm.tokenizer import Tokenizer
from tools.convert_weights.hf import write_hf

FORMATS = ("orbax", "hf")
DTYPES = ("bfloat16", "float32")


def convert(source_name: str, target: Path, form: str, dtype: str) -> None:
    """Writes the model `source_name` to `target`.

    Args:
      source_name: what `jaxswarm.model.sources.open_source` takes.
      target: a directory that does not exist or is empty.
      form: one of `FORMATS`.
      dtype: one of `DTYPES`.

    Raises:
      InputError: a source that can't be used, a target that is taken, a full disk. Then `target` is
        as it was.
    """
    _check_target(target)
    source = open_source(source_name)
    weights.check(source)
    tokenizer = Tokenizer(source.tokenizer)
    tokenizer.check_size(source.config.vocab_size)
    write = _write_orbax if form == "orbax" else write_hf
    needed = source.config.num_parameters * jnp.dtype(dtype).itemsize
    with (
        _whole_or_nothing(target, needed=needed) as draft,
        tqdm(unit="tensor", desc=target.name, disable=None) as bar,
    ):

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        write(source, tokenizer, draft, dtype, show)


def _write_orbax(
    source: Source,
    tokenizer: Tokenizer,
    directory: Path,
    dtype: str,
    on_tensor: Callable[[int, int], None],
) -> None:
    mesh = make_mesh(data=1, fsdp=1, tensor=1, devices=jax.devices()[:1])
    params = weights.load(source, mesh, dtype, on_tensor)
    checkpointer = Checkpointer(directory, source.config, keep=1, save_async=False)
    checkpointer.save(0, {PARAMS: params}, {"source": source.name, "dtype": dtype})
    checkpointer.close()
    tokenizer.save(checkpointer.tokenizer_directory)


def _check_target(target: Path) -> None:
    got = str(target)
    try:
        if (target.is_dir() and not any(target.iterdir())) or not os.path.lexists(target):
            return
    except OSError as error:
        got = f"{target} ({error.strerror})"
    raise InputError(
        "--target",
        got=got,
        expected="a directory that does not exist yet, or an empty one",
        remedy="choose another, or move away what is there",
    )


@contextmanager
def _whole_or_nothing(target: Path, *, needed: int) -> Iterator[Path]:
    """A draft beside `target` that takes its place at the end, and goes away on any error."""
    draft = target.absolute().with_name(f".{target.name}.{os.getpid()}.draft")
    try:
        draft.mkdir(parents=True)
        free = shutil.disk_usage(draft).free
        if free < needed:
            raise InputError(
                f"free space for {target}",
                got=f"{free / 1e6:,.0f} MB",
                expected=f"at least {needed / 1e6:,.0f} MB",
                remedy="free some space, or choose another --target",
            )
        yield draft
        draft.rename(target)
    except OSError as error:
        raise InputError(
            f"--target {target}",
            got=str(error),
            expected="a place that can be written",
            remedy="free some space, or choose another --target",
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
