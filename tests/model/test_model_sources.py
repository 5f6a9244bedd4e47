"""Models from directories, .gguf files, checkpoints and the hub; and those that can't be used."""

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jaxswarm.errors import InputError
from jaxswarm.model import weights
from jaxswarm.model.config import ModelConfig
from jaxswarm.model.sources import look_up, open_source
from tests.model import small_hub, tiny_gguf

NAMED_BY = "what named it: --config.model.source, --checkpoint or --source"
"""Whichever program it was."""


def assert_reads(name: Path, expected: dict[str, np.ndarray]) -> None:
    source = open_source(str(name))
    weights.check(source)
    assert source.shapes == {name: tensor.shape for name, tensor in expected.items()}
    for tensor, values in expected.items():
        np.testing.assert_array_equal(source.read(tensor), values, err_msg=tensor)


def parameters_of(model) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy() for name, tensor in model.named_parameters()}


@pytest.mark.parametrize("shard", ["100GB", "40KB"])
def test_a_directory_of_transformers_is_read_from_one_file_or_from_many(
    make_model, tmp_path, shard
):
    model = make_model()
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 3) == (shard == "40KB")
    assert_reads(tmp_path, parameters_of(model))
    assert open_source(str(tmp_path)).tokenizer == tmp_path


def test_bfloat16_files_are_read_without_torch(make_model, tmp_path):
    import torch

    model = make_model().to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    script = (
        "import sys\n"
        "from jaxswarm.model.sources import open_source\n"
        f"tensor = open_source({str(tmp_path)!r}).read('model.norm.weight')\n"
        "print(tensor.dtype, tensor.astype('float32').sum(), 'torch' in sys.modules)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    total = model.model.norm.weight.float().detach().numpy().sum()
    assert printed == ["bfloat16", str(total), "False"]


@pytest.mark.parametrize("tied", [True, False])
def test_a_gguf_file_gives_config_and_tensors(make_model, tmp_path, tied):
    model = make_model(
        tie_word_embeddings=tied,
        num_key_value_heads=1,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )
    path = tiny_gguf.write(tmp_path / "model.gguf", model)
    assert_reads(path, parameters_of(model))
    expected = ModelConfig.from_hf(model.config.to_dict(), source="made")
    assert open_source(str(path)).config == expected
    assert expected.tie_embeddings == tied


@pytest.mark.parametrize("quantised", ["F16", "BF16", "Q8_0", "Q4_0", "Q5_1"])
def test_quantised_tensors_are_what_the_library_makes_of_them(make_model, tmp_path, quantised):
    model = make_model()
    path = tiny_gguf.write(tmp_path / "model.gguf", model, quantised=quantised)
    assert_reads(path, tiny_gguf.dequantised(model, quantised))


def test_a_large_tensor_dequantises_slab_by_slab_to_the_same_values(make_model, tmp_path):
    model = make_model(vocab_size=10_000, hidden_size=32)
    path = tiny_gguf.write(tmp_path / "model.gguf", model, quantised="Q8_0")
    assert_reads(path, tiny_gguf.dequantised(model, "Q8_0"))


def test_a_gguf_file_without_a_separate_head_is_tied_and_one_with_it_is_not(make_model, tmp_path):
    for tied in (True, False):
        path = tiny_gguf.write(tmp_path / f"{tied}.gguf", make_model(tie_word_embeddings=tied))
        source = open_source(str(path))
        assert source.config.tie_embeddings == tied
        assert (weights.HEAD in source.shapes) != tied


@pytest.mark.parametrize("size", [0, 3, 100, 5000, 200_000])
def test_a_gguf_file_that_is_cut_off_is_one_clear_line(make_model, tmp_path, size):
    path = tiny_gguf.write(tmp_path / "model.gguf", make_model())
    path.write_bytes(path.read_bytes()[:size])
    assert_refused(path, "expected a whole GGUF file")


def test_a_gguf_file_that_can_t_be_mapped_is_one_clear_line(tmp_path):
    (tmp_path / "model.gguf").symlink_to("/proc/self/mem")
    assert_refused(tmp_path / "model.gguf", "expected a whole GGUF file")


def test_garbage_inside_a_gguf_header_raises_nothing_but_a_clear_line(make_model, tmp_path):
    path = tiny_gguf.write(tmp_path / "model.gguf", make_model())
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(40):
        spoilt = bytearray(whole)
        at = int(rng.integers(8, 600))
        spoilt[at : at + 4] = rng.bytes(4)
        path.write_bytes(spoilt)
        with contextlib.suppress(InputError):  # and nothing else; some bytes may be anything
            open_source(str(path))


def test_a_gguf_file_of_another_architecture_is_refused(tmp_path):
    import gguf

    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_block_count(1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert_refused(tmp_path / "model.gguf", "got 'llama'; expected 'qwen2'")


def test_a_llama_directory_is_refused(tmp_path):
    from transformers import LlamaConfig

    LlamaConfig().save_pretrained(tmp_path)
    assert_refused(tmp_path, "got 'llama'; expected 'qwen2'")


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda d: (d / "model.safetensors").unlink(), "model.safetensors"),
        (lambda d: (d / "model.safetensors").write_bytes(b"{}"), "a whole safetensors file"),
        (lambda d: (d / "config.json").write_text("{"), "config.json"),
        (lambda d: (d / "config.json").write_text("[]"), "a JSON object"),
        (lambda d: (d / "config.json").unlink(), f"or a run's checkpoints; correct {NAMED_BY}"),
    ],
    ids=["no weights", "torn weights", "torn config", "list for a config", "no config"],
)
def test_a_spoilt_directory_is_one_clear_line(model_directory, tmp_path, spoil, named):
    copy = tmp_path / "copy"
    shutil.copytree(model_directory, copy)
    spoil(copy)
    assert_refused(copy, named)


def test_an_index_that_names_a_missing_file_is_one_clear_line(make_model, tmp_path):
    make_model().save_pretrained(tmp_path, max_shard_size="40KB")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_bytes())
    (tmp_path / index["weight_map"][weights.HEAD]).unlink()
    assert_refused(tmp_path, "safetensors")


@pytest.mark.parametrize("read", [open_source, look_up])
@pytest.mark.parametrize(
    "name", ["./absent", "/absent/model", "absent.gguf", "models/absent.gguf", "a/b/c", "absent"]
)
def test_a_path_that_is_not_there_is_not_asked_of_the_hub(name, read):
    assert_refused(name, f"there is no such path: correct {NAMED_BY}", read)


OPEN = """
import sys
from jaxswarm.errors import InputError
from jaxswarm.model.sources import open_source
try:
    source = open_source(sys.argv[1])
    print(sorted(source.shapes), float(source.read("model.norm.weight").sum()), source.tokenizer)
except InputError as error:
    print(error)
"""


def open_in_a_process(
    name: str, cache: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A fresh process opens this model; the hub's address is read at import."""
    command = [sys.executable, "-c", OPEN, name]
    changed = os.environ | {"HF_HOME": str(cache)} | environment
    return subprocess.run(command, capture_output=True, text=True, check=True, env=changed)


def open_from_hub(name: str, cache: Path, **environment: str) -> str:
    return open_in_a_process(name, cache, **environment).stdout.strip()


def test_a_model_of_the_hub_is_downloaded_without_what_nobody_reads(model_directory, tmp_path):
    hub = tmp_path / "hub"
    shutil.copytree(model_directory, hub)
    (hub / "pytorch_model.bin").write_bytes(b"the same weights again")
    with small_hub.serve("Qwen/Tiny", hub) as (address, fetched):
        printed = open_from_hub("Qwen/Tiny", tmp_path / "cache", HF_ENDPOINT=address)
    local = open_source(str(model_directory))
    total = float(local.read("model.norm.weight").sum())
    assert printed.startswith(f"{sorted(local.shapes)} {total} {tmp_path}/cache")
    assert sorted(fetched) == sorted(path.name for path in model_directory.iterdir())
    again = open_from_hub("Qwen/Tiny", tmp_path / "cache", HF_HUB_OFFLINE="1")
    assert again == printed, "what is in the cache needs no hub"


def test_of_a_model_that_is_no_qwen2_the_config_alone_is_downloaded(model_directory, tmp_path):
    from transformers import LlamaConfig

    hub = tmp_path / "hub"
    shutil.copytree(model_directory, hub)
    LlamaConfig().save_pretrained(hub)
    with small_hub.serve("meta/Llama", hub) as (address, fetched):
        printed = open_from_hub("meta/Llama", tmp_path / "cache", HF_ENDPOINT=address)
        absent = open_from_hub("Qwen/Absent", tmp_path / "cache", HF_ENDPOINT=address)
    assert "model_type in the config of meta/Llama: got 'llama'; expected 'qwen2'" in printed
    assert fetched == ["config.json"]
    assert absent.startswith("model source Qwen/Absent: got 'no such path here, and no such model")
    assert absent.endswith(f"log in to the hub, or correct {NAMED_BY}")


@pytest.mark.parametrize(
    "environment",
    [
        {"HF_HUB_OFFLINE": "1"},
        # The hub's client tries six times.
        pytest.param({"HF_ENDPOINT": "http://127.0.0.1:9"}, marks=pytest.mark.slow),
    ],
    ids=["offline", "unreachable"],
)
def test_an_unreachable_hub_names_the_flags_for_a_local_model(tmp_path, environment):
    ended = open_in_a_process("Qwen/Qwen2.5-1.5B-Instruct", tmp_path, **environment)
    assert ended.stderr == "", "not a word of the hub's client"
    printed = ended.stdout.strip()
    assert printed.startswith("model source Qwen/Qwen2.5-1.5B-Instruct: got 'no such path here")
    assert printed.endswith(f"or give a local model, DIR or FILE.gguf, to {NAMED_BY}")
    assert "\n" not in printed


def assert_refused(
    name: Path | str, named: str, read: Callable[[str], object] = open_source
) -> None:
    with pytest.raises(InputError) as caught:
        read(str(name))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [open_source, look_up])
def test_a_path_that_may_not_be_looked_at_is_one_clear_line(read, monkeypatch):
    def denied(path, **_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", denied)
    with pytest.raises(InputError, match=r"model source /home/ann/model: got 'Permission denied'"):
        read("/home/ann/model")
