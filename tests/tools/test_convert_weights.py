"""Models through the converter: what comes out is the same model, whole, or nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from jaxswarm.learner.checkpoint import Checkpointer
from jaxswarm.learner.train_step import TrainState
from jaxswarm.model import qwen2, weights
from jaxswarm.model.sharding import make_mesh
from jaxswarm.model.sources import open_source
from jaxswarm.tokenizer import Tokenizer
from tests.model import tiny_gguf
from tools.convert_weights.__main__ import main

TOKENS = torch.arange(30).reshape(2, 15) * 7 % 290
CHAT = [{"role": "user", "content": "Ann has 3 apples. How many?"}]


def convert(source: Path, target: Path, form: str, dtype: str = "float32") -> int:
    return main(
        ["--source", str(source), "--target", str(target), "--format", form, "--dtype", dtype]
    )


def assert_is(directory: Path, model, tokenizer) -> None:
    """transformers loads the same model and tokenizer from there, with nothing missing."""
    loaded, report = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, output_loading_info=True
    )
    assert not any(report.values()), report
    with torch.no_grad():
        torch.testing.assert_close(loaded(TOKENS).logits, model(TOKENS).logits, rtol=0, atol=1e-5)
    again = AutoTokenizer.from_pretrained(directory)
    assert again.chat_template == tokenizer.chat_template
    for text in ("Ann has 3 apples.", "<|im_end|> ä 123\n"):
        assert again.encode(text) == tokenizer.encode(text)
    assert (again.eos_token, again.pad_token) == (tokenizer.eos_token, tokenizer.pad_token)


def make_source(directory: Path, form: str, model, tokenizer) -> Path:
    """The same model in each of the formats that the converter reads."""
    if form == "gguf":
        return tiny_gguf.write(directory / "model.gguf", model, tokenizer)
    saved = directory / "model"
    model.save_pretrained(saved, max_shard_size="60KB" if form == "shards" else "1GB")
    tokenizer.save_pretrained(saved)
    if form != "run":
        return saved
    source = open_source(str(saved))
    params = weights.load(source, make_mesh(data=8, fsdp=1, tensor=1), "float32")
    moments = nnx.state(nnx.merge(qwen2.abstract(source.config)[0], params))
    checkpointer = Checkpointer(directory / "run", source.config, keep=2)
    Tokenizer(saved).save(checkpointer.tokenizer_directory)
    checkpointer.save(6, TrainState(params, {"m": moments}, jnp.int32(6)), {"round": 2})
    checkpointer.close()
    return directory / "run"


@pytest.mark.parametrize("form", ["file", "shards", "gguf", "run"])
def test_every_source_becomes_a_model_that_transformers_loads(
    make_model, tiny_tokenizer, tmp_path, form
):
    model = make_model()
    source = make_source(tmp_path, form, model, tiny_tokenizer)
    assert convert(source, tmp_path / "out", "hf") == 0
    assert_is(tmp_path / "out", model, tiny_tokenizer)


@pytest.mark.parametrize("form", ["gguf", "run"])
def test_every_source_becomes_a_checkpoint_that_is_a_source_again(
    make_model, tiny_tokenizer, tmp_path, form
):
    model = make_model(num_key_value_heads=1)
    source = make_source(tmp_path, form, model, tiny_tokenizer)
    assert convert(source, tmp_path / "middle", "orbax") == 0
    assert open_source(str(tmp_path / "middle")).config == open_source(str(source)).config
    assert convert(tmp_path / "middle", tmp_path / "out", "hf") == 0
    assert_is(tmp_path / "out", model, tiny_tokenizer)


def test_a_checkpoint_with_parameters_only_says_where_it_came_from(model_directory, tmp_path):
    assert convert(model_directory, tmp_path / "out", "orbax", "bfloat16") == 0
    source = open_source(str(tmp_path / "out"))
    assert {source.read(name).dtype.name for name in source.shapes} == {"bfloat16"}
    notes = json.loads((tmp_path / "out/0/metadata/metadata").read_text())
    assert (notes["source"], notes["dtype"]) == (str(model_directory), "bfloat16")


def test_a_tied_model_stays_tied_and_a_repeated_head_is_left_out(
    make_model, tiny_tokenizer, tmp_path
):
    model = make_model(tie_word_embeddings=True)
    source = make_source(tmp_path, "file", model, tiny_tokenizer)
    tensors = load_file(source / "model.safetensors")
    tensors[weights.HEAD] = tensors["model.embed_tokens.weight"].copy()
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    assert convert(source, tmp_path / "out", "hf") == 0
    assert_is(tmp_path / "out", model, tiny_tokenizer)
    assert weights.HEAD not in load_file(tmp_path / "out/model.safetensors")


def test_bfloat16_is_what_torch_rounds_to(make_model, tiny_tokenizer, tmp_path):
    model = make_model()
    source = make_source(tmp_path, "file", model, tiny_tokenizer)
    assert convert(source, tmp_path / "out", "hf", "bfloat16") == 0
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert loaded.dtype == torch.bfloat16
    for name, parameter in model.to(torch.bfloat16).named_parameters():
        torch.testing.assert_close(loaded.get_parameter(name), parameter, rtol=0, atol=0)


def test_generation_ends_where_our_own_does(model_directory, tmp_path):
    assert convert(model_directory, tmp_path / "out", "hf") == 0
    tokenizer = Tokenizer(tmp_path / "out")
    config = GenerationConfig.from_pretrained(tmp_path / "out")
    assert tuple(config.eos_token_id) == tokenizer.stop_tokens
    assert config.pad_token_id == tokenizer.pad_id
    assert tokenizer.encode_prompts([CHAT]) == Tokenizer(model_directory).encode_prompts([CHAT])


@pytest.mark.parametrize("form", ["hf", "orbax"])
@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (
            lambda t: t.update({weights.HEAD: t[weights.HEAD][:7].copy()}),
            "lm_head.weight of shape (320, 64), not (7, 64)",
        ),
        (
            lambda t: t.pop("model.norm.weight"),
            "model.norm.weight of shape (64,), which is missing",
        ),
        (
            lambda t: t.update({"extra": np.zeros((2, 3), np.float32)}),
            "no extra, which is there with shape (2, 3)",
        ),
    ],
    ids=["mis-shaped", "missing", "unexpected"],
)
def test_tensors_that_do_not_fit_are_named_and_nothing_is_written(
    model_directory, tmp_path, capsys, form, spoil, named
):
    source = tmp_path / "in"
    shutil.copytree(model_directory, source)
    tensors = load_file(source / "model.safetensors")
    spoil(tensors)
    save_file(tensors, source / "model.safetensors")
    assert convert(source, tmp_path / "out", form) == 2
    assert named in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("taken", ["file", "directory"])
def test_a_target_that_is_taken_is_refused_and_stays_as_it_is(
    model_directory, tmp_path, capsys, taken
):
    target = tmp_path / "out"
    inside = target / "kept" if taken == "directory" else target
    inside.parent.mkdir(exist_ok=True)
    inside.write_text("precious")
    assert convert(model_directory, target, "hf") == 2
    assert "expected a directory that does not exist yet" in capsys.readouterr().err
    assert inside.read_text() == "precious"


def test_an_empty_target_is_taken(model_directory, tmp_path):
    (tmp_path / "out").mkdir()
    assert convert(model_directory, tmp_path / "out", "hf") == 0
    assert (tmp_path / "out/model.safetensors").exists()


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(model_directory, tmp_path, capsys):
    assert convert(model_directory, tmp_path / "whole", "hf", "bfloat16") == 0
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "whole").iterdir()}
    # Enough for the weights in bfloat16, but not for all that stands beside them.
    room = sizes.pop("model.safetensors") + sum(sizes.values()) // 2
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", disk],
        capture_output=True,
        text=True,
    )
    if mount.returncode:
        pytest.skip(f"a small file system can't be mounted here: {mount.stderr.strip()}")
    try:
        assert convert(model_directory, disk / "out", "hf") == 2
        assert "free space for" in capsys.readouterr().err
        assert not any(disk.iterdir())
        assert convert(model_directory, disk / "out", "hf", "bfloat16") == 2
        assert "No space left on device" in capsys.readouterr().err
        assert not any(disk.iterdir())
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_kill_in_the_middle_leaves_no_target(make_model, tiny_tokenizer, tmp_path):
    model = make_model(vocab_size=40_000, hidden_size=256, num_hidden_layers=2)
    source = make_source(tmp_path, "file", model, tiny_tokenizer)
    flags = ["--source", source, "--target", tmp_path / "out", "--format", "hf"]
    command = [sys.executable, "-m", "tools.convert_weights", *map(str, flags)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while not list(tmp_path.glob(".out.*/*")) and process.poll() is None:
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert convert(source, tmp_path / "out", "hf") == 0


def test_the_command_ends_with_one_line_and_a_status(tmp_path):
    flags = ["--source", tmp_path / "absent", "--target", tmp_path / "out", "--format", "hf"]
    command = [sys.executable, "-m", "tools.convert_weights", *map(str, flags)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: model source: got ")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("form", ["hf", "orbax"])
def test_real_weights_take_at_most_1_6_times_their_size_in_memory(
    real_weights, tmp_path, form, dtype
):
    source = real_weights("qwen2.5-coder-0.5b-instruct")
    flags = ["--source", source, "--target", tmp_path / "out", "--format", form, "--dtype", dtype]
    measured = (
        "import resource, subprocess, sys\n"
        "command = [sys.executable, '-m', 'tools.convert_weights', *sys.argv[1:]]\n"
        "subprocess.run(command, check=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", measured, *map(str, flags)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    weights_bytes = open_source(str(source)).config.num_parameters * jnp.dtype(dtype).itemsize
    assert int(done.stdout) < 1.6 * weights_bytes
