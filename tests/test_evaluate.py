"""Evaluation as a program of its own: figures of a model or a checkpoint; nothing learns."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from configs import tiny
from jaxswarm.evaluate import main
from jaxswarm.setup import assemble
from tests.report.test_files import FULL, needs_full

ROOT = Path(__file__).parents[1]


@pytest.fixture
def figures(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Runs the program with flags; returns the figures that it prints, None where nothing."""

    def run(*flags: str, code: int = 0) -> dict[str, Any] | None:
        words = [
            "jaxswarm.evaluate",
            f"--config={ROOT}/configs/tiny.py",
            "--config.output.compilation_cache=",
            "--config.evaluation.questions=16",
            "--config.evaluation.batch=8",
            *flags,
        ]
        monkeypatch.setattr(sys, "argv", words)
        assert main() == code
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        assert (code == 0) == ("error: " not in printed.err)
        return json.loads(printed.out) if printed.out else None

    return run


def test_the_embedded_model_and_its_checkpoint_get_the_same_figures(figures, tmp_path):
    from tools.convert_weights.__main__ import main as convert

    model = figures("--config.evaluation.samples=2")
    assert model["questions"] == 16
    assert 0.1 < model["greedy"] <= 1.0
    assert 0.0 < model["sampled"] <= 1.0
    assert model["greedy_format"] > 0.5
    source = tiny.get_config().model.source
    target = str(tmp_path / "checkpoint")
    flags = ["--source", source, "--target", target, "--format", "orbax", "--dtype", "float32"]
    assert convert(flags) == 0
    checkpoint = figures(f"--checkpoint={target}")
    assert checkpoint == model | {"model": target, "sampled": None, "sampled_format": None}


def test_no_questions_are_nothing_to_measure(figures):
    assert figures("--config.evaluation.questions=0", code=2) is None


def test_the_file_for_the_figures_is_made_with_its_directory(figures, tmp_path):
    file = tmp_path / "not" / "yet" / "figures.json"
    assert figures(f"--json={file}") is None
    assert json.loads(file.read_text())["questions"] == 16


@pytest.mark.parametrize("name", ["directory", "file/figures.json", "file/deeper/figures.json"])
def test_a_file_that_can_t_be_written_is_told_before_anything_is_measured(
    figures, tmp_path, monkeypatch, name
):
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("jaxswarm.evaluate.measure", lambda _: pytest.fail("it is measured"))
    assert figures(f"--json={tmp_path / name}", code=2) is None


@needs_full
def test_figures_that_find_no_room_are_printed_in_place_of_the_file(figures):
    assert figures(f"--json={FULL}", code=2)["questions"] == 16


def test_the_weights_are_held_once_in_the_dtype_of_matmuls_and_nothing_beside_them():
    config = tiny.get_config()
    config.model.dtype = "bfloat16"
    source = assemble.model_source(config)
    before = {id(array) for array in jax.live_arrays()}
    generate = assemble.generate(config, source, lambda _: None)
    made = [array for array in jax.live_arrays() if id(array) not in before]
    assert {array.dtype for array in made} == {jnp.dtype(jnp.bfloat16)}
    assert sum(array.size for array in made) == source.config.num_parameters
    assert callable(generate)
