"""Each check of the doctor made to fail, on real files and the real program."""

import dataclasses
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from ml_collections import ConfigDict

from configs import gsm8k, tiny
from jaxswarm.doctor import machine
from jaxswarm.doctor.__main__ import examine
from jaxswarm.doctor.findings import Finding, Level, run, verdict
from jaxswarm.doctor.identity import identity
from jaxswarm.doctor.network import secret
from jaxswarm.errors import InputError
from jaxswarm.model import sources
from jaxswarm.model.config import ModelConfig
from jaxswarm.model.sharding import make_mesh
from jaxswarm.swarm.identity import open_identity

pytestmark = pytest.mark.faults

ROOT = Path(__file__).parents[2]
MEASURED = {
    "stages.questions": 2,
    "grpo.group": 4,
    "grpo.micro_batches": 1,
    "generation.limit": 128,
    "generation.prompt_buckets": (1024,),
}
"""The flags of benchmarks/results/real_swarm.json, whose prompts were no longer than that."""


def by_what(findings: Iterator[Finding] | list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def test_a_healthy_machine_has_nothing_but_ok(config: ConfigDict) -> None:
    found = by_what(examine(config))
    assert {what: finding.level for what, finding in found.items()} == dict.fromkeys(
        ("versions", "config", "model", "data", "devices", "memory", "disk"), Level.OK
    )
    assert not Path(config.output.directory).exists(), "the doctor changes nothing"


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("model.source", "/no/such/model", "model"),
        ("data.source", "./nowhere.jsonl", "data"),
        ("grpo.group", 1, "config"),
        ("stages.prompts", "x", "config"),
        ("mesh.tensor", 3, "devices"),
        ("stages.questions", 7, "devices"),
        ("grpo.group", 10**6, "memory"),
    ],
)
def test_what_the_config_asks_for_and_can_t_be_had_is_a_failure(
    config: ConfigDict, key: str, value: object, what: str
) -> None:
    config.update_from_flattened_dict({key: value})
    found = by_what(examine(config))
    assert found[what].level == Level.FAILURE
    assert str(value) in str(found[what]) or what == "memory"
    others = {finding.level for other, finding in found.items() if other != what}
    assert others == {Level.OK}, "one failure keeps no other check from being made"


def test_a_local_model_that_is_none_for_chats_is_a_failure(
    config: ConfigDict, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(config.model.source, model)
    (model / "chat_template.jinja").unlink()
    config.model.source = str(model)
    finding = by_what(examine(config))["model"]
    assert finding.level == Level.FAILURE
    assert "no chat template" in str(finding)


def test_versions_that_are_missing_or_old_are_named() -> None:
    (finding,) = machine.versions(["no-such-package>=1", "msgpack>=999", "msgpack>=1.0"])
    assert finding.level == Level.FAILURE
    assert "no-such-package is missing, msgpack" in finding.found
    assert "is not >=999" in finding.found


def test_a_large_model_on_a_cpu_is_a_warning(huge: ModelConfig) -> None:
    mesh = make_mesh(data=1, fsdp=1, tensor=1, devices=jax.devices()[:1])
    (finding,) = machine.devices(huge, mesh)
    assert finding.level == Level.WARNING
    assert "minutes a stage" in finding.remedy


def test_key_value_heads_that_the_tensor_axis_cuts_are_a_warning(model: ModelConfig) -> None:
    mesh = make_mesh(data=2, fsdp=1, tensor=4)
    for heads in (4, 8):
        fits = dataclasses.replace(model, num_kv_heads=heads)
        assert [finding.what for finding in machine.devices(fits, mesh)] == ["devices"]
    cut = dataclasses.replace(model, num_kv_heads=2)
    finding = by_what(machine.devices(cut, mesh))["mesh"]
    assert finding.level == Level.WARNING
    assert finding.remedy == "use mesh.fsdp in its place, or a mesh.tensor that divides 2"


def test_memory_is_compared_with_what_this_machine_has(
    model: ModelConfig, huge: ModelConfig
) -> None:
    mesh = make_mesh(data=1, fsdp=1, tensor=1, devices=jax.devices()[:1])
    config, had = tiny.get_config(), machine.memory_had(mesh)
    levels = [
        next(machine.memory(machine.memory_needed(config, each, mesh, "float32"), had)).level
        for each in (model, huge)
    ]
    assert levels == [Level.OK, Level.FAILURE]
    assert next(machine.memory(0.9 * had, had)).level == Level.WARNING


def test_the_estimate_of_memory_is_near_what_was_measured() -> None:
    """Qwen2.5-0.5B in float32 on a CPU: 13.93 GB at the peak."""
    sizes = {"hidden_size": 896, "intermediate_size": 4864, "num_layers": 24, "vocab_size": 151936}
    heads = {"num_heads": 14, "num_kv_heads": 2, "head_dim": 64, "tie_embeddings": True}
    base = sources.open_source(tiny.get_config().model.source).config
    qwen = dataclasses.replace(base, **sizes, **heads)
    config = gsm8k.get_config()
    config.update_from_flattened_dict(MEASURED)
    mesh = make_mesh(data=1, fsdp=1, tensor=1, devices=jax.devices()[:1])
    assert machine.memory_needed(config, qwen, mesh, "float32") == pytest.approx(13.93e9, rel=0.25)


def test_the_estimate_of_memory_is_near_what_xla_plans_for_an_h100() -> None:
    """8 questions of `benchmarks.footprint`: Qwen2.5-1.5B in bfloat16, 38.7 GB at the peak."""
    sizes = {"hidden_size": 1536, "intermediate_size": 8960, "num_layers": 28, "vocab_size": 151936}
    heads = {"num_heads": 12, "num_kv_heads": 2, "head_dim": 128, "tie_embeddings": True}
    base = sources.open_source(tiny.get_config().model.source).config
    qwen = dataclasses.replace(base, **sizes, **heads)
    config = gsm8k.get_config()
    config.generation.prompt_buckets, config.grpo.beta = (512,), 0.001
    mesh = make_mesh(data=1, fsdp=1, tensor=1, devices=jax.devices()[:1])
    # Beside a GPU a checkpoint that is being written is in the host's memory.
    needed = machine.memory_needed(config, qwen, mesh, "bfloat16") - 12 * qwen.num_parameters
    assert needed == pytest.approx(38.7e9, rel=0.1)

    # Of 2 and of 4 layers that are not recomputed XLA plans 13.2 and 18.6 GB: of 28, some 84.
    config.grpo.micro_batches, config.grpo.remat = 1, False
    needed = machine.memory_needed(config, qwen, mesh, "bfloat16") - 12 * qwen.num_parameters
    assert needed == pytest.approx(83.7e9, rel=0.1)


def test_weights_in_pieces_are_counted_whole_while_a_node_generates(huge: ModelConfig) -> None:
    config = gsm8k.get_config()
    config.generation.prompt_buckets, config.grpo.vocab_slice = (256,), 1024
    mesh = make_mesh(data=1, fsdp=8, tensor=1)
    needed = machine.memory_needed(config, huge, mesh, "bfloat16")
    state_and_checkpoint, whole = 2 * 12 / 8, 2
    assert needed == pytest.approx((state_and_checkpoint + whole) * huge.num_parameters, rel=0.02)


def test_the_estimate_of_memory_knows_how_a_batch_is_cut_and_what_attention_takes(
    model: ModelConfig,
) -> None:
    config = gsm8k.get_config()

    def needed(devices: int, micro_batches: int, longest: int = 4096) -> float:
        mesh = make_mesh(data=devices, fsdp=1, tensor=1, devices=jax.devices()[:devices])
        config.grpo.micro_batches = micro_batches
        config.generation.prompt_buckets = (longest,)
        return machine.memory_needed(config, model, mesh, "float32")

    assert needed(1, 8) < needed(1, 1)
    assert needed(8, 8) == needed(8, 1), "a device has but one question"
    config.generation.limit = 1
    scores = 4 * 8 * model.num_heads * 4096**2
    assert needed(1, 1, 8192) - needed(1, 1) > 3 * 3 * scores, "the square of a prompt's length"


def test_an_identity_is_looked_at_from_every_side_and_nothing_is_made(tmp_path: Path) -> None:
    path, backup = tmp_path / "run" / "key", tmp_path / "backup"
    found = by_what(identity(path, None))["identity"]
    assert (found.level, found.found) == (Level.OK, f"none yet; made at the start, {path}")
    assert list(tmp_path.iterdir()) == []

    path.parent.mkdir()
    found = by_what(identity(path, None))["identity"]
    assert (found.level, found.found) == (Level.WARNING, f"no key at {path}")
    assert list(path.parent.iterdir()) == []

    live = open_identity(path)
    assert "a live node uses" in by_what(identity(path, None))["identity"].found
    live.close()
    assert by_what(identity(path, None))["backup"].level == Level.WARNING
    assert "none yet" in by_what(identity(path, backup))["backup"].found

    open_identity(path, backup).close()
    assert {finding.level for finding in identity(path, backup)} == {Level.OK}
    path.chmod(0o444)
    assert by_what(identity(path, backup))["identity"].remedy.endswith(f"chmod 400 {path}")

    path.unlink()
    found = by_what(identity(path, backup))["identity"]
    assert (found.level, "will be put back" in found.found) == (Level.OK, True)
    open_identity(path).close()
    assert by_what(identity(path, backup))["backup"].level == Level.FAILURE
    backup.chmod(0o600)
    backup.write_bytes(b"torn")
    with pytest.raises(InputError, match="no key of a node"):
        list(identity(path, backup))
    with pytest.raises(InputError, match="the identity file itself"):
        list(identity(path, path))


def test_a_secret_that_others_can_read_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("k" * 32)
    for mode, level in ((0o400, Level.OK), (0o600, Level.OK), (0o440, Level.WARNING)):
        path.chmod(mode)
        (finding,) = secret(path)
        assert finding.level == level
    assert finding.remedy == f"chmod 400 {path}"


def test_a_check_that_hangs_or_fails_is_a_failure_and_a_bug_stays_a_bug() -> None:
    ends = threading.Event()

    def hangs() -> Iterator[Finding]:
        ends.wait()
        yield from ()

    def refuses() -> Iterator[Finding]:
        yield Finding(Level.OK, "first", "good")
        raise InputError("a thing", got=1, expected="2", remedy="mend it")

    def breaks() -> Iterator[Finding]:
        raise ZeroDivisionError
        yield

    began = time.monotonic()
    (finding,) = run("slow", hangs, patience_s=0.2)
    ends.set()
    assert time.monotonic() - began < 5.0
    assert (finding.level, finding.found) == (Level.FAILURE, "no answer in 0.2 s")
    assert [f.level for f in run("bad", refuses)] == [Level.OK, Level.FAILURE]
    with pytest.raises(ZeroDivisionError):
        run("bug", breaks)


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ([], "it will work here"),
        ([Level.OK, Level.OK], "it will work here"),
        ([Level.WARNING, Level.OK], "it will work here; 1 warning"),
        ([Level.WARNING, Level.OK, Level.WARNING], "it will work here; 2 warnings"),
        ([Level.WARNING, Level.FAILURE], "it will not work here: 1 failure"),
        ([Level.FAILURE, Level.FAILURE], "it will not work here: 2 failures"),
    ],
)
def test_the_verdict_counts_what_is_worst(levels: list[Level], said: str) -> None:
    assert verdict(levels) == said


@pytest.mark.parametrize(
    ("flags", "code", "said", "last"),
    [
        ([], 0, "ok       peers", "it will work here"),
        (
            ["--config.model.source=/no/model"],
            1,
            "failure  model",
            "it will not work here: 1 failure",
        ),
        (
            ["--config.no.such.key=1"],
            2,
            "error: the command line",
            "error: the command line: got '--config.no.such.key'; expected a key of the config "
            "file; configs/gsm8k.py lists every key with its type and unit",
        ),
    ],
)
def test_the_program_ends_with_its_verdict_in_seconds(
    tmp_path: Path, flags: list[str], code: int, said: str, last: str
) -> None:
    command = [sys.executable, "-m", "jaxswarm.doctor", f"--config={ROOT}/configs/tiny.py"]
    directory = f"--config.output.directory={tmp_path / 'run'}"
    began = time.monotonic()
    done = subprocess.run(
        [*command, directory, *flags],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": ""},
    )
    assert time.monotonic() - began < 60.0
    assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done
    assert (done.stdout + done.stderr).splitlines()[-1] == last
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
