"""Completions of a question laid end to end in fewer rows, so that training computes no padding.

Completions differ in length, and a row for each is as long as the longest may be. Because a prompt
is a prefix of its own, several of its completions can share a row: each attends the prompt and
itself alone.
"""

import math
from collections.abc import Sequence
from typing import Generic, NamedTuple

import numpy as np

from jaxswarm.learner.arrays import A


class Packing(NamedTuple, Generic[A]):
    """Where each token lies. R rows of S slots hold the G completions of a question."""

    source_QxRxS: A
    """int32: which token g * C + t of the question lies in a slot; -1: none."""
    first_QxG: A
    """int32: the slot r * S + s that a completion begins at."""


def pack(
    length_QxG: np.ndarray, limit: int, buckets: Sequence[float]
) -> Packing[np.ndarray] | None:
    """Packs the completions of each question, the longest first, into the first row that has room.

    Args:
      length_QxG: at most `limit`.
      limit: C, the tokens that a completion may have.
      buckets: how many rows of `limit` slots, rising; the first that suffices for all questions is
        taken. 4.25: 4 rows, each a sixteenth longer than the limit.

    Returns:
      None where no bucket suffices: a row for each completion is as good.
    """
    for bucket in buckets:
        rows = int(bucket)
        slots = math.ceil(bucket * limit / rows)
        placed = [_first_fit(length_G, slots) for length_G in length_QxG]
        if max(max(row_G) for row_G, _ in placed) < rows:
            return _lay_out(length_QxG, limit, placed, (rows, slots))
    return None


def _lay_out(
    length_QxG: np.ndarray,
    limit: int,
    placed: Sequence[tuple[Sequence[int], Sequence[int]]],
    shape: tuple[int, int],
) -> Packing[np.ndarray]:
    """`placed`: of each question, its completions' rows and starts. `shape`: rows and slots."""
    Q, G = length_QxG.shape
    source_QxRxS = np.full((Q, *shape), -1, np.int32)
    first_QxG = np.zeros((Q, G), np.int32)
    for q, (row_G, start_G) in enumerate(placed):
        first_QxG[q] = np.array(row_G) * shape[1] + start_G
        for g, (row, start) in enumerate(zip(row_G, start_G, strict=True)):
            tokens = np.arange(length_QxG[q, g])
            source_QxRxS[q, row, start + tokens] = g * limit + tokens
    return Packing(source_QxRxS, first_QxG)


def _first_fit(length_G: np.ndarray, slots: int) -> tuple[list[int], list[int]]:
    """Each completion's row of so many slots, and where in it it starts."""
    used: list[int] = []
    row_G, start_G = [0] * len(length_G), [0] * len(length_G)
    for g in np.argsort(-length_G, kind="stable"):
        row = next((i for i, n in enumerate(used) if n + length_G[g] <= slots), len(used))
        if row == len(used):
            used.append(0)
        row_G[g], start_G[g] = row, used[row]
        used[row] += int(length_G[g])
    return row_G, start_G
