"""A short run of what benchmarks.fuzz does at length."""

import random

import pytest

from benchmarks.fuzz_target import Target, mutate, seeds

pytestmark = pytest.mark.faults

INPUTS = 30_000


def test_thousands_of_changed_records_are_refused_or_sound_and_nothing_else() -> None:
    target, draw = Target(), random.Random(0)
    corpus = seeds()
    for data in corpus:
        target(data)
    for _ in range(INPUTS):
        data = draw.choice(corpus)
        for _ in range(draw.randrange(1, 4)):
            data = mutate(data, draw)
        target(data)
    assert sum(target.outcomes.values()) == INPUTS + len(corpus)
    seen = {outcome for outcome in target.outcomes if target.outcomes[outcome] > 10}
    for outcome in ("accepted", "malformed", "oversized", "future_version"):
        assert f"decode: {outcome}" in seen, target.outcomes
    assert {"admit: malformed", "tag_of: no tag", "validate: refused"} <= seen, target.outcomes
