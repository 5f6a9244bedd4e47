"""A config of the embedded default, and its model in two sizes."""

import dataclasses
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from configs import tiny
from jaxswarm.model import sources
from jaxswarm.model.config import ModelConfig


@pytest.fixture
def config(tmp_path: Path) -> ConfigDict:
    config = tiny.get_config()
    config.swarm.enabled = False
    config.mesh.fsdp, config.mesh.data = 1, -1
    config.output.directory = str(tmp_path / "run")
    return config


@pytest.fixture(scope="module")
def model() -> ModelConfig:
    return sources.open_source(tiny.get_config().model.source).config


@pytest.fixture(scope="module")
def huge(model: ModelConfig) -> ModelConfig:
    return dataclasses.replace(model, hidden_size=65_536, intermediate_size=262_144)
