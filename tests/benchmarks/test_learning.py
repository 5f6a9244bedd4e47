"""Arms of the experiment at the smallest size: whole nodes in one process, twice alike."""

import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.learning import records
from benchmarks.learning.__main__ import main
from benchmarks.learning.arms import ARMS
from benchmarks.learning.lab import Lab, open_lab
from benchmarks.learning.play import play
from configs import tiny
from jaxswarm.records import Stage
from jaxswarm.report.files import read_lines
from jaxswarm.report.journal import JOURNAL_FILE
from jaxswarm.report.reports import METRICS_FILE, read_reports
from tests.node.playing import one_device

__all__ = ["one_device"]

TOKENS = 1500.0
"""Two rounds of stage 1."""

SETTINGS = {
    "stages.questions": 4,
    "generation.limit": 32,
    "evaluation.questions": 8,
    "evaluation.batch": 8,
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    config = tiny.get_config()
    config.update_from_flattened_dict(SETTINGS)
    config.output.compilation_cache = ""
    return open_lab(config, tmp_path_factory.mktemp("starts"), print)


def played(lab: Lab, arm: str, directory: Path) -> dict[str, Any]:
    return play(lab, ARMS[arm], 1, TOKENS, directory)


def without_times(record: Any) -> Any:
    if isinstance(record, dict):
        return {k: without_times(v) for k, v in record.items() if "seconds" not in k}
    return [without_times(item) for item in record] if isinstance(record, list) else record


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_again_is_the_same_run(lab, tmp_path):
    first, again = (played(lab, "swarm", tmp_path / name) for name in ("first", "again"))
    assert without_times(first) == without_times(again)
    assert [node["updates"] for node in first["nodes"]] == [first["nodes"][0]["updates"]] * 3
    assert first["nodes"][0]["updates"] % 3 == 0
    names = [f"node-{index}" for index in range(3)]
    told = [read_reports(tmp_path / "first" / name / METRICS_FILE).stages for name in names]
    assert all(report.outputs_read == 2 and report.missing == 0 for one in told for report in one)
    # Clones are no copies: other seeds, other figures.
    assert len({node["generated"] for node in first["nodes"]}) == 3
    for node in first["nodes"]:
        assert node["generated"] == pytest.approx(TOKENS, rel=0.7)
        assert node["learnt"] == node["generated"]
        assert node["curve"][0]["tokens"] == 0
        assert node["curve"][-1]["tokens"] == node["generated"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sharing_nothing_learns_as_solo_does_and_sharing_something_else_does_not(lab, tmp_path):
    solo = played(lab, "solo", tmp_path / "solo")["nodes"][0]
    alone = played(lab, "sharing-8-0", tmp_path / "alone")["nodes"]
    mixed = played(lab, "sharing-4-4", tmp_path / "mixed")["nodes"]
    rounds = min(solo["updates"], alone[0]["updates"])
    assert solo["uniform"][:rounds] == alone[0]["uniform"][:rounds]
    np.testing.assert_array_equal(solo["before"]["greedy"], alone[0]["before"]["greedy"])
    if solo["updates"] == alone[0]["updates"]:
        assert solo["after"] == alone[0]["after"]
    assert len(mixed) == 3
    assert all(node["learnt"] != node["generated"] for node in mixed)
    positions = [r.position for r in read_reports(tmp_path / "solo/node-0" / METRICS_FILE).stages]
    assert [position.stage_index for position in positions] == [0] * len(positions)
    assert [position.round for position in positions] == list(range(len(positions)))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_placebo_shows_texts_of_peers_that_do_not_answer_the_question(lab, tmp_path):
    played(lab, "placebo", tmp_path)
    said: dict[tuple[Any, ...], dict[str, str]] = {}
    shown: list[tuple[tuple[Any, ...], dict[str, str]]] = []
    for node in range(3):
        for _, line in read_lines(tmp_path / f"node-{node}" / JOURNAL_FILE):
            assert line is not None
            which = (line["peer"], line["round"], line["stage"])
            texts = {reply["question_id"]: reply["text"] for reply in line["replies"]}
            if line["kind"] == "published":
                said[which] = texts
            else:
                shown.append((which, texts))
    assert len(shown) == 2 * len(said) > 0
    of_others = 0
    for which, texts in shown:
        own, is_answer = [*said[which].values()], which[2] == Stage.ANSWER
        turned = [*own[1:], *own[:1]] if is_answer else own
        assert texts == dict(zip(said[which], turned, strict=True))
        of_others += is_answer and turned != own
    assert of_others > 0


def command(out: Path, *more: str) -> list[str]:
    return [
        "benchmarks.learning",
        f"--config={Path(tiny.__file__)}",
        "--config.output.compilation_cache=",
        *(f"--config.{key}={value}" for key, value in SETTINGS.items()),
        f"--tokens={TOKENS}",
        f"--out={out}",
        f"--page={out / 'page'}",
        *more,
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_command_goes_on_where_it_stopped_and_makes_its_page(tmp_path, monkeypatch, capsys):
    words = command(tmp_path, "--arms=solo")
    monkeypatch.setattr(sys, "argv", [*words, "--seeds=1"])
    assert main() == 0
    text = (tmp_path / "page" / "README.md").read_text()
    assert "(1 run)" in text
    assert "**not shown**" in text
    path = records.path_of(tmp_path, "solo", 0)
    written = path.stat().st_mtime_ns
    monkeypatch.setattr(sys, "argv", [*words, "--seeds=2"])
    assert main() == 0
    assert path.stat().st_mtime_ns == written
    assert [run["seed"] for run in records.read(tmp_path)["solo"]] == [0, 1]
    monkeypatch.setattr(sys, "argv", [*words, "--seeds=3", "--tokens=3000"])
    assert main() == 2
    assert "not those of solo 0" in capsys.readouterr().err
    assert (tmp_path / "page" / "accuracy.png").stat().st_size > 10_000
    with tarfile.open(tmp_path / "page" / records.PACKED) as packed:
        assert packed.getnames() == ["runs/solo-0.json", "runs/solo-1.json"]
    monkeypatch.setattr(sys, "argv", [*words, "--arms=nobody"])
    assert main() == 2
    assert "--arms: got 'nobody'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("arm", ["swarm", "sharing-4-4"])
def test_an_arm_is_played_by_real_nodes(tmp_path, monkeypatch, arm):
    monkeypatch.setenv("XLA_FLAGS", "")  # without the devices that the other tests simulate
    monkeypatch.setattr(sys, "argv", command(tmp_path, f"--arms={arm}", "--seeds=1", "--real"))
    assert main() == 0
    assert "nodes over the DHT" in (tmp_path / "page" / "README.md").read_text()
    ((run,),) = records.read(tmp_path).values()
    assert len(run["nodes"]) == 3
    for index, node in enumerate(run["nodes"]):
        stages = read_reports(tmp_path / f"nodes/{arm}-0/node-{index}" / METRICS_FILE).stages
        assert [point["tokens"] for point in node["curve"]] == [0, node["generated"]]
        assert node["updates"] == len(stages) > 0
        assert node["before"] != node["after"]
        assert max(report.peers for report in stages) == 2
    total = sum(node["generated"] for node in run["nodes"])
    assert total >= 3 * TOKENS


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_real_nodes_can_not_be_told_to_be_specialists(tmp_path, monkeypatch, capsys):
    words = command(tmp_path, "--arms=specialists", "--seeds=1", "--real")
    monkeypatch.setattr(sys, "argv", words)
    assert main() == 2
    assert "--real" in capsys.readouterr().err
