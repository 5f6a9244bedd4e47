"""Whoever reads what a program prints may leave before it ends, as a closed ssh window does."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


@contextlib.contextmanager
def may_leave() -> Iterator[None]:
    """Inside the block, what can't be written to stdout or stderr is said to nobody.

    A run is worth more than what it says: it goes on, and ends as it is asked to.
    """
    before = sys.stdout, sys.stderr
    # Without the file descriptor Python has None, to which print and rich say nothing.
    sys.stdout, sys.stderr = (cast(TextIO, stream and _Heedless(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in filter(None, before):
            try:
                stream.flush()
            except OSError:
                # What is left in the buffer is tried again when Python ends, with exit code 120.
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Heedless:
    """A stream to which nothing fails to be written."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
