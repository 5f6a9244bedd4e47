"""Completions of a question laid end to end in fewer rows, so that training computes no padding.

Completions differ in length, and a row for each is as long as the longest may be. Because a prompt
is a prefix of its own, several of its completions can share a row: each attends the prompt and
itself alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np


class Packing(NamedTuple):
    """Where each token lies. R rows of C slots hold the G completions of a question."""

    source_QxRxC: jax.Array
    """int32: which token g * C + t of the question lies in a slot; -1: none."""
    first_QxG: jax.Array
    """int32: the slot r * C + s that a completion begins at."""


def pack(length_QxG: np.ndarray, width: int, buckets: Sequence[int]) -> Packing | None:
    """Packs the completions of each question, the longest first, into the first row that has room.

    Args:
      length_QxG: at most `width`.
      width: C, the slots of a row.
      buckets: numbers of rows, rising; the first that suffices for all questions is taken.

    Returns:
      None where no bucket suffices: a row for each completion is as good.
    """
    placed = [_first_fit(length_G, width) for length_G in length_QxG]
    rows = next((size for size in buckets if size >= max(max(row) + 1 for row, _ in placed)), None)
    if rows is None:
        return None
    Q, G = length_QxG.shape
    source_QxRxC = np.full((Q, rows, width), -1, np.int32)
    first_QxG = np.zeros((Q, G), np.int32)
    for q, (row_G, start_G) in enumerate(placed):
        first_QxG[q] = np.array(row_G) * width + start_G
        for g, (row, start) in enumerate(zip(row_G, start_G, strict=True)):
            tokens = np.arange(length_QxG[q, g])
            source_QxRxC[q, row, start + tokens] = g * width + tokens
    return Packing(source_QxRxC, first_QxG)  # pyright: ignore[reportArgumentType]


def _first_fit(length_G: np.ndarray, width: int) -> tuple[list[int], list[int]]:
    """Each completion's row, and where in it it starts."""
    used: list[int] = []
    row_G, start_G = [0] * len(length_G), [0] * len(length_G)
    for g in np.argsort(-length_G, kind="stable"):
        row = next((i for i, n in enumerate(used) if n + length_G[g] <= width), len(used))
        if row == len(used):
            used.append(0)
        row_G[g], start_G[g] = row, used[row]
        used[row] += int(length_G[g])
    return row_G, start_G
