"""What is kept of an earlier measurement says still where and when that was."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import facts, fuzz, scale
from benchmarks.scale_simulation import Simulation
from jaxswarm.swarm.config import Limits

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Measures, with the file of before where one is given; returns the file that is there then."""
    monkeypatch.setattr(facts, "RESULTS", tmp_path)

    def measure(benchmark: Any, *words: str, before: dict[str, Any] | None = None) -> dict:
        path = tmp_path / f"{benchmark.NAME}.json"
        if before is not None:
            path.write_text(json.dumps(before))
        monkeypatch.setattr(sys, "argv", ["benchmark", *words])
        assert benchmark.main() == 0
        return json.loads(path.read_text())

    return measure


def test_a_part_that_is_kept_has_the_facts_of_its_own_measurement(run: Run, tmp_path: Path) -> None:
    as_it_is = json.loads((Path(scale.__file__).parent / "results" / "scale.json").read_text())
    old = {**as_it_is, "facts": {"commit": "old"}}
    written = run(scale, "--real=", "--simulated=10", "--keep", before=old)
    assert written["real"] == {"facts": {"commit": "old"}, **old["real"]}
    assert written["simulated"]["facts"] == facts.facts()
    assert [row["nodes"] for row in written["simulated"]["in buckets"]] == [10]
    assert "facts" not in written, "there is none that is true of both"
    assert (tmp_path / "scale.png").stat().st_size > 10_000

    again = run(scale, "--real=", "--simulated=10", "--keep")
    assert again["real"] == written["real"]
    assert run(scale, "--real=", "--simulated=10")["real"] == {}


def test_a_run_that_is_kept_has_the_facts_of_its_own_measurement(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"crashed": False, "inputs": 3, "outcomes": {"decode: malformed": 3}}
    monkeypatch.setattr(fuzz, "_fuzz", lambda *_: found)
    old = {"facts": {"commit": "old"}, "inputs": 3, "runs": [found]}
    written = run(fuzz, "--more", before=old)
    assert [each["facts"] for each in written["runs"]] == [{"commit": "old"}, facts.facts()]
    assert (written["inputs"], written["outcomes"]) == (6, {"decode: malformed": 6})
    again = run(fuzz, "--more")
    assert again["runs"][:2] == written["runs"]
    assert "facts" not in again
    assert len(run(fuzz)["runs"]) == 1


def test_the_spread_of_a_simulated_swarm_is_the_largest_at_any_second() -> None:
    swarm = Simulation(10, Limits())
    swarm.run(20)
    spreads = []
    for _ in range(60):
        swarm.run(1)
        spreads.append(swarm.spread())
    assert max(spreads) == 1 > spreads[-1], "stages end at different seconds"
    figures = scale.simulated(10, Limits(), warm_up_s=20, seconds=60)
    assert figures["largest_spread_in_stages"] == 1
