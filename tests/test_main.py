"""What the program refuses: one line that names the thing, exit code 2, and nothing begun."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from configs import tiny
from jaxswarm import evaluate
from jaxswarm.doctor import __main__ as doctor
from jaxswarm.errors import InputError
from jaxswarm.host import memory
from jaxswarm.main import main
from jaxswarm.report.rundir import held
from jaxswarm.setup import assemble

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
        (["--config.generation.prompt_buckets=(256.5, 512)"], "prompt_buckets"),
        (["--config.generation.temperature=0.0"], "generation.temperature"),
        (["--config.generation.top_k=1"], "generation.top_k"),
        (["--config.grpo.row_buckets=(0.5, 2)"], "row_buckets"),
        (["--config.generation.limit=0"], "generation.limit"),
        (["--config.generation.limit=400"], "at most the model's context, 512 tokens"),
        (["--config.evaluation.batch=12"], "evaluation.batch"),
        (["--config.model.source=~no-such-user/model"], "~no-such-user/model"),
        (["--config.evaluation.batch=0"], "evaluation.batch"),
        (["--config.output.keep_checkpoints=0"], "output.keep_checkpoints"),
        (["--config.swarm.host_maddrs= , ", "--config.swarm.enabled=True"], "swarm.host_maddrs"),
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
    ("key", "value"),
    [
        ("stages.peers_in_prompt", 0),
        ("stages.max_peer_chars", 0),
        ("grpo.eps_low", -0.1),
        ("grpo.eps_low", 1.1),
        ("grpo.eps_high", -0.1),
        ("optimizer.learning_rate", 0.0),
        ("optimizer.learning_rate", float("nan")),
        ("optimizer.warmup_steps", -1),
        ("optimizer.clip_norm", 0.0),
        ("optimizer.weight_decay", -0.1),
        ("optimizer.b1", 1.0),
        ("optimizer.b2", -0.1),
        ("swarm.first_peers", -1),
        ("swarm.stage_deadline_s", 0.0),
        ("swarm.stage_deadline_s", float("inf")),
        ("swarm.startup_timeout_s", 0.0),
        ("swarm.heartbeat_s", 0.0),
        ("swarm.member_ttl_s", 1.0),
        ("swarm.output_ttl_s", 0.0),
        ("swarm.output_ttl_s", 179.0),
        ("swarm.poll_s", 0.0),
        ("evaluation.every_rounds", -1),
        ("evaluation.questions", -1),
        ("evaluation.samples", -1),
        ("output.directory", ""),
    ],
)
def test_a_number_that_no_run_can_use_is_named_with_the_flag_that_sets_it(key, value):
    config = tiny.get_config()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(InputError) as caught:
        assemble.check_values(config)
    assert str(caught.value).startswith(f"{key}: got {value!r}; expected ")
    assert str(caught.value).endswith(f"; set --config.{key}")


def test_a_schedule_that_ends_needs_a_run_whose_updates_are_known():
    config = tiny.get_config()
    config.update_from_flattened_dict(
        {"optimizer.schedule": "cosine", "swarm.train_while_waiting": True}
    )
    with pytest.raises(InputError, match=r"optimizer.schedule: got 'cosine'.*train_while_waiting"):
        assemble.check_values(config)
    for key, usual, fit in (
        ("swarm.enabled", True, False),
        ("swarm.mode", "stages", "sharing"),
        ("swarm.train_while_waiting", True, False),
    ):
        config.update_from_flattened_dict({key: fit})
        assemble.check_values(config)
        config.update_from_flattened_dict({key: usual})


def test_a_directory_without_a_name_is_not_the_present_one(attempt, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "output.directory: got ''" in attempt(Path(), "--config.output.directory=")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flag", "named"),
    [
        ("--config.grpo.group=1", "grpo.group"),
        ("--config.swarm.name= ", "swarm.name"),
        ("--config.swarm.initial_peers=nowhere", "initial_peers"),
        ("--config.mesh.data=3", "mesh"),
        ("--config.evaluation.batch=12", "evaluation.batch"),
    ],
)
def test_a_wrong_value_costs_no_download(attempt, tmp_path, monkeypatch, flag, named):
    def download(_: object) -> None:
        raise AssertionError("the model was looked for")

    monkeypatch.setattr(assemble, "model_source", download)
    assert named in attempt(tmp_path, flag, "--config.swarm.enabled=True")


def test_memory_is_set_up_before_there_is_a_second_thread(attempt, tmp_path, monkeypatch):
    seen: list[set[str]] = []

    def noting() -> None:
        seen.append({thread.name for thread in threading.enumerate()})

    monkeypatch.setattr(memory, "keep_freed", noting)
    attempt(tmp_path, "--config.grpo.group=1")
    (names,) = seen
    assert "ending" not in names


def test_a_round_with_more_questions_than_there_are_is_refused_before_the_swarm_is_joined(
    attempt, tmp_path
):
    line = attempt(tmp_path, "--config.stages.questions=80000", "--config.swarm.enabled=True")
    assert line.startswith("error: stages.questions: got 80000; expected at most the ")
    assert not (tmp_path / "node.json").exists()


def test_a_directory_in_which_a_run_is_alive_is_left_alone(attempt, tmp_path):
    with held(tmp_path):
        line = attempt(tmp_path)
    assert line.startswith(f"error: directory {tmp_path}: got 'in use by a live run on this mach")
    assert list(tmp_path.iterdir()) == []


def test_an_evaluation_looks_at_its_config_too(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["evaluate", TINY, "--config.evaluation.batch=0"])
    assert evaluate.main() == 2
    assert capsys.readouterr().err.startswith("error: evaluation.batch: got 0; expected 1 or more")


@pytest.mark.parametrize("program", [main, evaluate.main, doctor.main], ids=lambda f: f.__module__)
@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("config = gsm8k.get_config(); del config.swarm.external; return config", "no swarm.ext"),
        ("return nothing", "NameError"),
        ("return (", "SyntaxError"),
    ],
)
def test_a_config_file_that_can_t_be_used_is_no_bug_of_any_program(
    program, body, named, tmp_path, capsys, monkeypatch
):
    file = tmp_path / "mine.py"
    file.write_text(f"from configs import gsm8k\n\ndef get_config():\n    {body}\n")
    monkeypatch.setattr(sys, "argv", ["program", f"--config={file}"])
    assert program() == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: config file {file}: got ")
    assert named in said.err
    assert said.err.count("\n") == 1


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
