"""What the program refuses: one line that names the thing, exit code 2, and nothing begun."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jaxswarm.main import main

ROOT = Path(__file__).parents[1]
TINY = f"--config={ROOT}/configs/tiny.py"


@pytest.fixture
def attempt(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Runs the program on a directory and flags; returns the line that it ends with."""

    def run(directory: Path, *flags: str) -> str:
        words = [
            "jaxswarm.main",
            TINY,
            f"--config.output.directory={directory}",
            "--config.output.compilation_cache=",
            "--config.mesh.fsdp=1",
            "--config.mesh.data=8",
            *flags,
        ]
        monkeypatch.setattr(sys, "argv", words)
        code = main()
        said = capsys.readouterr()
        assert code == 2, said
        line = said.err.strip().splitlines()[-1]
        assert line.startswith("error: ")
        assert "expected" in line
        assert "Traceback" not in said.err
        return line

    return run


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--config.model.source=no/such/model/here"], "--config.model.source"),
        (["--config.data.source=./nowhere.jsonl"], "--config.data.source"),
        (["--config.data.answer_column=solution"], "solution"),
        (["--config.stages.prompts=long"], "--config.stages.prompts"),
        (["--config.grpo.group=1"], "grpo.group"),
        (["--config.swarm.mode=alone"], "swarm.mode"),
        (["--config.swarm.mode=sharing", "--config.swarm.external=8"], "swarm.external"),
        (["--config.grpo.loss=ppo"], "grpo.loss"),
        (["--config.mesh.tensor=3"], "mesh"),
        (["--config.mesh.data=1", "--config.mesh.tensor=8"], "query heads"),
        (["--config.mesh.data=8", "--config.stages.questions=12"], "questions of a round"),
        (["--config.generation.prompt_buckets=(128, 64)"], "prompt_buckets"),
        (["--config.grpo.row_buckets=(0.5, 2)"], "row_buckets"),
        (["--config.generation.limit=0"], "generation.limit"),
        (["--config.evaluation.batch=0"], "evaluation.batch"),
        (["--config.output.keep_checkpoints=0"], "output.keep_checkpoints"),
        (["--config.swarm.member_ttl_s=601.0", "--config.swarm.enabled=True"], "member_ttl_s"),
        (
            ["--config.swarm.secret_file=/no/secret", "--config.swarm.enabled=True"],
            "swarm.secret_file",
        ),
        (
            ["--config.swarm.initial_peers=example.org:4000", "--config.swarm.enabled=True"],
            "initial_peers",
        ),
    ],
)
def test_a_value_that_can_t_be_used(attempt, tmp_path, flags, named):
    line = attempt(tmp_path, "--config.swarm.enabled=False", *flags)
    assert named in line
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("flag", "named"),
    [
        ("--config.grpo.group=1", "grpo.group"),
        ("--config.mesh.tensor=3", "mesh"),
        ("--config.stages.questions=12", "questions of a round"),
        ("--config.swarm.name=", "swarm.name"),
    ],
)
def test_what_can_be_known_before_is_known_before_the_swarm_is_joined(
    attempt, tmp_path, flag, named
):
    assert named in attempt(tmp_path, flag)
    assert not (tmp_path / "identity.pem").exists()


def test_an_identity_file_that_is_no_key_is_left_as_it_is(attempt, tmp_path):
    key = tmp_path / "identity.pem"
    key.write_text("not a key")
    line = attempt(tmp_path, f"--config.swarm.identity={key}")
    assert str(key) in line
    assert key.read_text() == "not a key"


def test_another_model_s_weights_are_named_with_both_shapes(attempt, tmp_path, model_directory):
    import json
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(model_directory, broken)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"intermediate_size": 64}))
    line = attempt(
        tmp_path / "run",
        f"--config.model.source={broken}",
        "--config.swarm.enabled=False",
        "--config.grpo.micro_batches=1",
    )
    assert "96" in line
    assert "64" in line
