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
from jaxswarm import assemble
from jaxswarm.evaluate import main

ROOT = Path(__file__).parents[1]


@pytest.fixture
def figures(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Runs the program with flags; returns the figures that it prints."""

    def run(*flags: str) -> dict[str, Any]:
        words = [
            "jaxswarm.evaluate",
            f"--config={ROOT}/configs/tiny.py",
            "--config.output.compilation_cache=",
            "--config.evaluation.questions=16",
            "--config.evaluation.batch=8",
            *flags,
        ]
        monkeypatch.setattr(sys, "argv", words)
        assert main() == 0
        return json.loads(capsys.readouterr().out)

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
