"""Every key of a config is read by somebody, and the README's table says what the config says."""

import ast
import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from ml_collections import ConfigDict

from configs import gsm8k, tiny
from jaxswarm.learner.optimizer import OptimizerConfig
from jaxswarm.learner.sampling import Sampling
from jaxswarm.learner.train_step import GRPOConfig
from jaxswarm.node.held_out import EvaluationConfig
from jaxswarm.node.parts import NodeConfig
from jaxswarm.setup import assemble, settings
from jaxswarm.swarm.config import DhtConfig, Limits

README = Path(__file__).parents[2] / "README.md"


class Recorder:
    """A config that notes which of its keys were read."""

    def __init__(self, config: ConfigDict, seen: set[str], path: str = ""):
        self._config, self._seen, self._path = config, seen, path

    def __getattr__(self, name: str) -> Any:
        path = f"{self._path}.{name}".removeprefix(".")
        value = getattr(self._config, name)
        if isinstance(value, ConfigDict):
            return Recorder(value, self._seen, path)
        self._seen.add(path)
        return value


def keys(config: ConfigDict, path: str = "") -> dict[str, Any]:
    found = {}
    for name, value in config.items():
        here = f"{path}.{name}".removeprefix(".")
        found |= keys(value, here) if isinstance(value, ConfigDict) else {here: value}
    return found


def test_every_key_is_read(tmp_path: Path):
    config = tiny.get_config()
    config.output.directory = str(tmp_path)
    config.output.compilation_cache = ""
    config.mesh.fsdp, config.mesh.data = 1, -1
    seen: set[str] = set()
    recorder = Recorder(config, seen)
    assemble.set_up_jax(recorder)
    plans, dataset = assemble.plans(recorder), assemble.data(recorder)
    source = assemble.model_source(recorder)
    tokenizer = assemble.tokenizer(source)
    settings.node(recorder, "some peer")
    assemble.exchange(recorder, dataset, plans, print).close()
    assemble.checkpointer(recorder, source, tokenizer).close()
    assemble.learner(recorder, source, print)
    assert keys(config).keys() - seen == set()


def read_of_settings() -> set[str]:
    """Names of the attributes that the package reads, elsewhere than where settings are made."""
    read: set[str] = set()
    for file in (README.parent / "jaxswarm").rglob("*.py"):
        if file.parent.name == "setup":
            continue
        nodes = [ast.parse(file.read_text())]
        while nodes:
            node = nodes.pop()
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                read.add(node.attr)
            if not (isinstance(node, ast.FunctionDef) and node.name == "__post_init__"):
                nodes.extend(ast.iter_child_nodes(node))
    return read


def test_what_the_keys_become_is_read_in_turn():
    kinds = (NodeConfig, EvaluationConfig, GRPOConfig, OptimizerConfig, Sampling, DhtConfig, Limits)
    read = read_of_settings()
    unread = [
        f"{kind.__name__}.{field.name}"
        for kind in kinds
        for field in dataclasses.fields(kind)
        if field.name not in read
    ]
    assert unread == []


@pytest.mark.parametrize("config", [tiny.get_config()])
def test_configs_have_the_same_keys_and_types(config: ConfigDict):
    base = keys(gsm8k.get_config())
    other = keys(config)
    assert other.keys() == base.keys()
    assert {name: type(value) for name, value in other.items()} == {
        name: type(value) for name, value in base.items()
    }


def meanings(source: str) -> dict[str, str]:
    """The comment above each key of a config file."""
    found, comment = {}, ""
    for line in map(str.strip, source.splitlines()):
        key = re.match(r"(?:config\.)?([a-z][\w.]*) = ", line)
        if line.startswith("#"):
            comment = f"{comment} {line[1:].strip()}".strip()
        elif key and comment:
            found[key[1]], comment = comment, ""
    return found


def test_the_readme_lists_every_key_with_its_default_and_what_the_config_says_of_it():
    text, meaning = README.read_text(), meanings(inspect.getsource(gsm8k))
    rows = [
        f"| `{name}` | `{value!r}` | {meaning[name]} |"
        for name, value in keys(gsm8k.get_config()).items()
    ]
    assert [row for row in rows if row not in text] == []
