"""What the command line refuses, and how."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from absl import flags as absl_flags

from jaxswarm.errors import InputError
from jaxswarm.setup import flags

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
        (("--config=configs/none.py",), "'configs/none.py'; expected a config file; try"),
        (("--config=configs",), "'configs'; expected a config file; try"),
        ((CONFIG, "--config.grpo.group.size=4"), "'--config.grpo.group.size'"),
        ((CONFIG, "--config.=4"), "'--config.'"),
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


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("grpo.gruop", "grpo.group"), ("grop.group", "grpo.group"), ("group", "grpo.group")],
)
def test_an_unknown_key_is_named_whole_and_once_and_so_is_the_one_that_was_meant(
    parse, wrong, right
):
    with pytest.raises(InputError) as caught:
        parse(CONFIG, f"--config.{wrong}=4")
    assert str(caught.value) == (
        f"the command line: got '--config.{wrong}'; expected a key of the config file; "
        f"did you mean --config.{right}?"
    )


def config_file(directory: Path, body: str, takes: str = "") -> Path:
    """A config of somebody's own, that changes the one of configs/gsm8k.py by `body`."""
    file = directory / "mine.py"
    file.write_text(
        f"from configs import gsm8k\n\ndef get_config({takes}):\n"
        f"    config = gsm8k.get_config()\n{body}\n    return config\n"
    )
    return file


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("    return nothing", 'line 5: NameError: name \\"nothing\\" is not defined'),
        ("    return config(", "SyntaxError"),
        ("    return 1 / 0", "line 5: ZeroDivisionError"),
        ("    return int('many')", "line 5: ValueError"),
        ("    config.rounds = 'many'", "line 5: TypeError"),
        ("    config.swarm.nothing.at_all = 1", "line 5: AttributeError"),
        ("    open('/no/such/file')", "line 5: FileNotFoundError"),
        ("    import no_such_module", "line 5: ModuleNotFoundError"),
        ("    return None", "get_config() returned NoneType"),
        ("    return {'rounds': 3}", "get_config() returned dict"),
    ],
)
def test_whatever_is_wrong_in_a_config_file_is_one_line_that_says_where(
    parse, tmp_path, body, named
):
    file = config_file(tmp_path, body)
    with pytest.raises(InputError) as caught:
        parse(f"--config={file}", "--config.rounds=3")
    assert str(caught.value).startswith(f"config file {file}: got ")
    assert named.replace("\\", "") in str(caught.value)
    assert "expected a Python file whose get_config() returns a ConfigDict" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "got"),
    [
        ("del config.swarm.external", "no swarm.external"),
        ("del config.rounds, config.grpo", "no grpo, rounds"),
        ("del config.grpo; config.grpo = 8", "no grpo"),
        ("config.grpo.gruop = 8", "grpo.gruop"),
    ],
)
def test_a_file_of_another_version_is_told_which_keys_it_lacks_or_has_too_many(
    parse, tmp_path, change, got
):
    file = config_file(tmp_path, f"    {change}")
    with pytest.raises(InputError) as caught:
        parse(f"--config={file}", "--config.grpo.group=4")
    assert str(caught.value) == (
        f"config file {file}: got '{got}'; expected every key of configs/gsm8k.py, "
        "and no other; "
        "begin your file with: config = gsm8k.get_config()"
    )


def test_a_config_file_may_take_an_argument(parse, tmp_path):
    file = config_file(tmp_path, "    config.rounds = int(rounds)", takes="rounds")
    config = parse(f"--config={file}:7")
    assert config.rounds == 7
    with pytest.raises(AttributeError, match="locked"):
        config.no_such_key = 1


def test_a_directory_with_a_package_configs_of_its_own_does_no_harm(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/__init__.py").touch()
    root = Path(__file__).parents[2]
    code = (
        "import sys; from absl import flags as f; from jaxswarm.setup import flags\n"
        "values = f.FlagValues(); flags.define(values); print(flags.parse(values, '').rounds)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, f"--config={root}/configs/gsm8k.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{root}"},
    )
    assert done.stdout == "300\n", done.stderr


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
            "--noconfig.swarm.client_mode",
            "--config.swarm.use_auto_relay",
            "--config.mesh.data=2",
            "--config.mesh.fsdp",
            "-1",
            "--config.mesh.tensor=2",
            "--config.output.compilation_cache=/scratch/xla",
        ],
        "/ip4/192.0.2.7/tcp/4001/p2p/Qm",
    )
    assert command == (
        "python -m jaxswarm.main --config configs/gsm8k.py '--config.grpo.row_buckets=(2, 3)' "
        "--config.swarm.name=mine --config.swarm.initial_peers=/ip4/192.0.2.7/tcp/4001/p2p/Qm"
    )
