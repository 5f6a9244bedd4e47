"""Where rows come from: the hub or local files, through `datasets`, imported here alone."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from jaxswarm.errors import InputError
from jaxswarm.host.paths import typed
from jaxswarm.host.quiet import quiet

FLAG = "--config.data.source"
USE_LOCAL_DATA = (
    f"give local data by {FLAG}=DIR (with train.jsonl and test.jsonl, the same as .parquet, or "
    f"saved by `datasets`) or {FLAG}=TRAIN.jsonl,TEST.jsonl"
)
NAME_SPLITS = "name its splits by --config.data.train_split and --config.data.held_out_split"
_READERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Split:
    """All rows of one split, and its name as a message calls it."""

    name: str
    rows: tuple[Row, ...]


def read(source: str, subset: str, train_split: str, held_out_split: str) -> tuple[Split, ...]:
    """Reads all rows of a source; `dataset.load` says what a source may be.

    Returns:
      The split to learn from and the held-out one; for a single file, all its rows as one split.

    Raises:
      InputError: the source can't be found, reached or read, or lacks a split.
    """
    try:
        readers = _readers(source, subset, (train_split, held_out_split))
    except OSError as error:  # a path below what may not be entered
        raise InputError(
            FLAG,
            got=f"{source} ({error.strerror})",
            expected="a path that may be read",
            remedy=f"see to its rights, or {USE_LOCAL_DATA}",
        ) from error
    with _quiet_datasets():
        return tuple(_split(name, reader) for name, reader in readers.items())


def _readers(
    source: str, subset: str, splits: tuple[str, str]
) -> dict[str, Callable[[], Iterable[Row]]]:
    """Finds out what `source` is, and so how to read each of its splits, by the split's name."""
    path = typed(source)
    if not source.strip():
        raise _no_such(source)
    if path.is_file():
        return {source: partial(_read_files, [path])}

    pair = [typed(part.strip()) for part in source.split(",")]
    if len(pair) == 2 and all(part.is_file() for part in pair):
        return {str(part): partial(_read_files, [part]) for part in pair}

    if (path / "dataset_dict.json").is_file():
        return {f"{source} ({split})": partial(_read_saved, path, split) for split in splits}

    if path.is_dir():
        files = {split: _split_files(path, subset, split) for split in splits}
        return {f"{source} ({split})": partial(_read_files, files[split]) for split in splits}

    # A hub id is NAME or OWNER/NAME; anything else was meant as a path.
    means_a_path = source.startswith((".", "/", "~")) or source.count("/") > 1
    if means_a_path or len(pair) > 1 or path.suffix in _READERS:
        raise _no_such(source)
    return {f"{source} ({split})": partial(_read_hub, source, subset, split) for split in splits}


def _no_such(source: str) -> InputError:
    return InputError(
        FLAG,
        got=source,
        expected="a directory, file or pair of files that exists, or a hub id",
        remedy=USE_LOCAL_DATA,
    )


def _split_files(directory: Path, subset: str, split: str) -> list[Path]:
    for folder in dict.fromkeys((directory, directory / subset)):
        for suffix in _READERS:
            if (folder / f"{split}{suffix}").is_file():
                return [folder / f"{split}{suffix}"]
        shards = sorted(folder.glob(f"{split}-*.parquet"))
        if shards:
            return shards
    raise InputError(
        FLAG,
        got=str(directory),
        expected=f"in it {split}.jsonl, {split}.json, {split}.parquet or {split}-*.parquet",
        remedy=f"{NAME_SPLITS}, or {USE_LOCAL_DATA}",
    )


def _split(name: str, reader: Callable[[], Iterable[Row]]) -> Split:
    try:
        return Split(name, tuple(reader()))
    # Data comes through several libraries (datasets, pyarrow, fsspec, httpx), each with errors of
    # its own and no common base. Whatever they raise means one thing here: it can't be read.
    except Exception as error:
        reason = " ".join([type(error).__name__, *str(error).split()])
        raise InputError(
            FLAG,
            got=name,
            expected=f"a data set that can be read ({reason[:200]})",
            remedy=f"see --config.data.subset, {NAME_SPLITS}, or {USE_LOCAL_DATA}",
        ) from error


# `datasets` takes seconds to import, so it is imported where it is needed.


def _read_files(files: Sequence[Path]) -> Iterable[Row]:
    import datasets

    for file in files:
        # An empty file makes the JSON reader raise StopIteration, which a generator must not.
        if file.stat().st_size == 0:
            continue
        # Streaming reads the file where it is, instead of copying it into a cache.
        rows = datasets.load_dataset(
            _READERS.get(file.suffix, "json"),
            data_files={"rows": str(file)},
            split="rows",
            streaming=True,
        )
        yield from cast(Iterable[Row], rows)


def _read_saved(directory: Path, split: str) -> Iterable[Row]:
    import datasets

    saved = datasets.load_from_disk(str(directory))
    if split not in saved:
        raise ValueError(f"it has no split {split!r}, only {', '.join(map(str, saved))}")
    return cast(Iterable[Row], saved[split])


def _read_hub(source: str, subset: str, split: str) -> Iterable[Row]:
    import datasets

    return cast(Iterable[Row], datasets.load_dataset(source, subset or None, split=split))


@contextmanager
def _quiet_datasets() -> Iterator[None]:
    """Without the bars and log lines of `datasets` and of the hub's client below it."""
    from datasets.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with quiet("datasets", "huggingface_hub"):
            yield
    finally:
        if bars:
            logging.enable_progress_bar()
