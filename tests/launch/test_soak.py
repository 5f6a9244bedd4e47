"""A short soak: what grows with the rounds shows in a few of them, but for what grows slowly."""

import json
from collections import defaultdict
from pathlib import Path

import pytest

from benchmarks import soak

EARLY, LATE = 70, 100
"""The daemons' heaps come to their size in some four minutes, however many rounds these are."""

SMALL = ("--config.stages.questions=4", "--config.grpo.group=4", "--config.generation.limit=32")


@pytest.mark.parametrize(
    ("kind", "late", "is_within"),
    [
        ("memory_mb", 105, True),
        ("memory_mb", 106, False),
        ("files", 107, False),
        ("threads", 105, True),
    ],
)
def test_a_twentieth_more_is_the_bound(kind: str, late: float, is_within: bool) -> None:
    assert soak.within_bound({"node-0": {kind: {"early": 100, "late": late}}}) == is_within


@pytest.mark.parametrize(("late", "is_within"), [(12, True), (13, False)])
def test_of_what_there_are_few_two_may_come_on_top(late: float, is_within: bool) -> None:
    assert soak.within_bound({"daemon": {"files": {"early": 10, "late": late}}}) == is_within


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nothing_that_a_node_or_its_daemon_holds_grows_with_the_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "")  # without the eight devices of other tests
    seen: dict[str, soak.ByRound] = defaultdict(dict)
    soak.soak(tmp_path, LATE, 2, SMALL, seen)
    assert set(seen) == {"node-0", "node-1", "node-0 daemon", "node-1 daemon"}
    growth = {name: soak.grown(by_round, EARLY, LATE - 1) for name, by_round in seen.items()}
    assert soak.within_bound(growth), json.dumps(growth)
