"""What the command line refuses, and how."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
from absl import flags as absl_flags

from jaxswarm import flags
from jaxswarm.errors import InputError

CONFIG = "--config=configs/gsm8k.py"


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    def run(*words: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["program", *words])
        values = absl_flags.FlagValues()
        flags.define(values)
        return flags.parse(values, "What it does.")

    return run


def test_any_key_is_overridden_by_its_type(parse):
    config = parse(
        CONFIG,
        "--config.grpo.group=16",
        "--config.swarm.enabled=False",
        "--config.generation.prompt_buckets=(64, 128)",
        "--config.optimizer.learning_rate=3e-6",
    )
    assert config.grpo.group == 16
    assert config.swarm.enabled is False
    assert config.generation.prompt_buckets == (64, 128)
    assert config.optimizer.learning_rate == 3e-6


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((), "no --config"),
        (("--config=configs/none.py",), "configs/none.py"),
        ((CONFIG, "--config.grpo.grup=4"), '"grup" Did you mean "group"'),
        ((CONFIG, "--config.grpo.group=four"), "four"),
        ((CONFIG, "--config.grpo=4"), "config.grpo=4"),
        ((CONFIG, "--flag=4"), "flag"),
        ((CONFIG, "stray"), "stray"),
    ],
)
def test_what_can_t_be_used_is_named_in_one_line(parse, words, named):
    with pytest.raises(InputError) as caught:
        parse(*words)
    assert named in str(caught.value)
    assert "\\" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "expected" in str(caught.value)


def test_who_asks_for_help_is_told_what_the_program_does_and_takes(parse, capsys):
    with pytest.raises(SystemExit) as ended:
        parse("--help")
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("What it does.")
    assert "--config.KEY=VALUE" in shown


def test_others_join_by_what_they_share_with_this_node_and_nothing_of_its_own():
    command = flags.to_join(
        [
            "--config",
            "configs/gsm8k.py",
            "--config.output.directory",
            "runs/mine",
            "--config.seed=7",
            "--config.grpo.row_buckets=(2, 3)",
            "--config.swarm.host_maddrs=/ip4/0.0.0.0/tcp/4001",
            "--config.swarm.announce_maddrs=/ip4/192.0.2.7/tcp/4001",
            "--config.swarm.identity_backup=/mnt/key",
            "--config.swarm.first_peers=2",
            "--config.swarm.initial_peers=/ip4/192.0.2.9/tcp/1",
            "--config.swarm.name=mine",
        ],
        "/ip4/192.0.2.7/tcp/4001/p2p/Qm",
    )
    assert command == (
        "python -m jaxswarm.main --config configs/gsm8k.py '--config.grpo.row_buckets=(2, 3)' "
        "--config.swarm.name=mine --config.swarm.initial_peers=/ip4/192.0.2.7/tcp/4001/p2p/Qm"
    )
