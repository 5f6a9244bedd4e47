"""Files that survive a kill at any moment: logs that only grow, documents replaced whole."""

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from jaxswarm.errors import InputError


class AppendLog:
    """A file of JSON lines that is only ever appended to, one whole line at a time.

    It is opened at the end of what is there. A line that a kill left torn is closed off, never
    overwritten: `read_lines` reports it as unreadable, and nothing after it is lost.
    """

    def __init__(self, path: Path):
        """Opens `path`, making it and its directory where they are missing.

        Raises:
          InputError: the file can't be opened or written.
        """
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            size = os.fstat(self._fd).st_size
            if size and os.pread(self._fd, 1, size - 1) != b"\n":
                self._write(b"\n")
        except OSError as error:
            raise unwritable(path, error) from error

    def append(self, record: Mapping[str, Any], *, durable: bool = False) -> None:
        """Adds one line. It outlives this process at once; with `durable` also the machine.

        Args:
          record: what `json` can write; scalars of NumPy and JAX are taken as floats.
          durable: return only when the line is on the disk (fsync).

        Raises:
          InputError: the disk is full or can't be written.
        """
        line = json.dumps(record, ensure_ascii=False, default=float) + "\n"
        try:
            # Half of a surrogate pair has no UTF-8; `json.loads` reads it back from this.
            self._write(line.encode(errors="surrogatepass"))
            if durable:
                os.fsync(self._fd)
        except OSError as error:
            raise unwritable(self._path, error) from error

    def close(self) -> None:
        """Safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """The lines of an `AppendLog`: line number from 1, and the record or None where unreadable.

    A missing file has no lines. Memory holds one line at a time.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, _parse(line)


def replace_json(path: Path, document: Mapping[str, Any]) -> None:
    """Writes `document` so that a reader sees the old one or the new one, never a part.

    Raises:
      InputError: the disk is full or can't be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(document, ensure_ascii=False, default=float) + "\n"
        draft.write_bytes(text.encode(errors="surrogatepass"))
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # the draft may not have come to be
            draft.unlink()
        raise unwritable(path, error) from error


def read_json(path: Path) -> dict[str, Any] | None:
    """The document that `replace_json` wrote; None where there is none, or no JSON object."""
    try:
        return _parse(path.read_bytes())
    except FileNotFoundError:
        return None


def as_document(record: Any) -> dict[str, Any]:
    """A dataclass's fields by name, each mapping among them as a plain dict."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}


def unwritable(path: Path, error: OSError) -> InputError:
    """The clear line for a file that can't be written: a full disk, a missing right."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "free some space and start the same command again: it goes on where it stood"
    else:
        remedy = "make it writable, or choose another directory"
    return InputError(
        f"file {path}",
        got=error.strerror or str(error),
        expected="a file that can be written",
        remedy=remedy,
    )


def _parse(data: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(data)
    except ValueError:  # no JSON, or no UTF-8
        return None
    return record if isinstance(record, dict) else None
