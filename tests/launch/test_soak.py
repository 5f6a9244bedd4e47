"""A short soak: what grows with the rounds shows in a few of them, but for what grows slowly."""

from collections import defaultdict
from pathlib import Path

import pytest

from benchmarks import soak

EARLY, LATE = 10, 25
SMALL = ("--config.stages.questions=4", "--config.grpo.group=4", "--config.generation.limit=32")


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
    growth = {name: soak.grown(by_round, EARLY, LATE) for name, by_round in seen.items()}
    assert soak.within_bound(growth), growth
