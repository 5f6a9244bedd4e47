"""What the doctor says of data of one's own."""

import json
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from jaxswarm.doctor.__main__ import examine
from jaxswarm.doctor.findings import Level
from tests.doctor.test_doctor import by_what

pytestmark = pytest.mark.faults


def own_data(directory: Path, rows: list[dict[str, str]]) -> str:
    """A data set of one's own, held-out questions beside these rows."""
    for name, these in (
        ("train", rows),
        ("held_out", [{"question": "Ann has 3. How many?", "answer": "3"}]),
    ):
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in these))
    return str(directory)


def test_rows_that_can_t_be_used_are_counted(tmp_path: Path, config: ConfigDict) -> None:
    rows = [{"question": f"Tom has {n}. How many?", "answer": str(n)} for n in range(20)]
    config.data.source = own_data(tmp_path, [*rows, *rows[:3]])
    finding = by_what(examine(config))["data"]
    assert finding.level == Level.OK
    assert finding.found.endswith("1 held out (0 rows lack a question or a number, 3 repeat one)")

    wrong = [{"question": "Who?", "answer": "Tom"}] * 400
    config.data.source = own_data(tmp_path, [*rows, *rows[:3], *wrong])
    finding = by_what(examine(config))["data"]
    assert finding.level == Level.WARNING
    assert "20 questions to learn from" in finding.found
    assert "(400 rows lack a question or a number, 3 repeat one)" in finding.found


def test_fewer_questions_than_a_round_asks_are_a_failure(
    tmp_path: Path, config: ConfigDict
) -> None:
    rows = [{"question": f"Tom has {n}. How many?", "answer": str(n)} for n in range(5)]
    config.data.source = own_data(tmp_path, rows)
    config.stages.questions = 8
    finding = by_what(examine(config))["data"]
    assert finding.level == Level.FAILURE
    assert "stages.questions: got 8" in finding.found
