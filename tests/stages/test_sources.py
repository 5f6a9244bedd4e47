import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest

from jaxswarm.errors import InputError
from jaxswarm.stages.dataset import load
from jaxswarm.stages.sources import Split, read

TRAIN = [{"question": "a?", "answer": "#### 1"}, {"question": "b?", "answer": "#### 2"}]
TEST = [{"question": "c?", "answer": "#### 3"}]


def jsonl(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def directory_of_jsonl(path: Path) -> str:
    jsonl(path / "train.jsonl", TRAIN)
    jsonl(path / "test.jsonl", TEST)
    return str(path)


def directory_of_json(path: Path) -> str:
    (path / "train.json").write_text(json.dumps(TRAIN))
    (path / "test.json").write_text(json.dumps(TEST))
    return str(path)


def directory_of_parquet(path: Path) -> str:
    datasets.Dataset.from_list(TRAIN).to_parquet(path / "train.parquet")
    datasets.Dataset.from_list(TEST).to_parquet(path / "test.parquet")
    return str(path)


def clone_of_a_hub_repository(path: Path) -> str:
    (path / "main").mkdir()
    for number, row in enumerate(TRAIN):
        shard = path / "main" / f"train-{number:05}-of-00002.parquet"
        datasets.Dataset.from_list([row]).to_parquet(shard)
    datasets.Dataset.from_list(TEST).to_parquet(path / "main" / "test-00000-of-00001.parquet")
    return str(path)


def saved_by_datasets(path: Path) -> str:
    splits = {
        "train": datasets.Dataset.from_list(TRAIN),
        "test": datasets.Dataset.from_list(TEST),
    }
    datasets.DatasetDict(splits).save_to_disk(path)
    return str(path)


def pair_of_files(path: Path) -> str:
    return f"{jsonl(path / 'mine.jsonl', TRAIN)}, {jsonl(path / 'yours.jsonl', TEST)}"


@pytest.mark.parametrize(
    "make",
    [
        directory_of_jsonl,
        directory_of_json,
        directory_of_parquet,
        clone_of_a_hub_repository,
        saved_by_datasets,
        pair_of_files,
    ],
)
def test_local_data_is_read_in_each_form(tmp_path: Path, make) -> None:
    train, held_out = read(make(tmp_path), "main", "train", "test")
    assert ([dict(row) for row in train.rows], [dict(row) for row in held_out.rows]) == (
        TRAIN,
        TEST,
    )


def test_a_single_file_is_one_split(tmp_path: Path) -> None:
    path = str(jsonl(tmp_path / "all.jsonl", TRAIN))
    assert read(path, "", "train", "test") == (Split(path, tuple(TRAIN)),)


def test_a_path_may_start_at_the_home_directory(tmp_path: Path, monkeypatch) -> None:
    directory_of_jsonl(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(read("~/train.jsonl", "", "train", "test")[0].rows) == 2


@pytest.mark.parametrize(
    "source",
    [
        "",
        "/no/such/directory",
        "./no-such",
        "~no-such-user/data",
        "no-such.jsonl",
        "a.jsonl,b.jsonl",
        "data/train/questions",
    ],
)
def test_a_path_that_does_not_exist_is_refused_without_asking_the_hub(source: str) -> None:
    with pytest.raises(InputError, match="a directory, file or pair of files that exists") as told:
        read(source, "", "train", "test")
    assert "--config.data.source=DIR" in str(told.value)


def test_a_directory_without_the_split_is_refused_with_what_it_should_hold(tmp_path: Path) -> None:
    directory_of_jsonl(tmp_path)
    with pytest.raises(InputError, match=r"in it dev.jsonl, .*; name its splits by --config"):
        read(str(tmp_path), "", "train", "dev")


def test_a_saved_data_set_without_the_split_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no split 'dev', only train, test"):
        read(saved_by_datasets(tmp_path), "", "train", "dev")


@pytest.mark.parametrize(
    "content",
    [
        b'{"question": "a?", "answer": "1"}\n{"question": oops\n',
        bytes(range(256)) * 8,
        '{"question": "é", "answer": "1"}\n'.encode("latin-1"),
        b"[1, 2]\n[3]\n",
        b'{"question": "\\ud800", "answer": "1"}\n',
    ],
    ids=["malformed", "binary", "latin-1", "lists", "lone surrogate"],
)
def test_a_file_that_is_no_jsonl_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "all.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match="a data set that can be read") as told:
        read(str(path), "", "train", "test")
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


def test_reading_leaves_the_librarys_settings_as_they_were(tmp_path: Path) -> None:
    before = datasets.utils.logging.get_verbosity(), datasets.is_progress_bar_enabled()
    load(directory_of_jsonl(tmp_path))
    after = datasets.utils.logging.get_verbosity(), datasets.is_progress_bar_enabled()
    assert after == before


def run_python(code: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )


def load_in_a_process(source: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Loads as a node does: an InputError is printed, and ends the process with 1."""
    return run_python(
        "import sys\n"
        "from jaxswarm.errors import InputError\n"
        "from jaxswarm.stages.dataset import load\n"
        "try:\n"
        f"    load({source!r}, subset='main')\n"
        "except InputError as error:\n"
        "    sys.exit(str(error))\n",
        tmp_path,
    )


def test_a_hub_out_of_reach_is_one_line_that_names_the_flag_for_local_data(tmp_path: Path) -> None:
    ended = load_in_a_process("openai/gsm8k", tmp_path)
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert "--config.data.source: got 'openai/gsm8k (train)'" in ended.stderr
    assert "--config.data.source=DIR" in ended.stderr


def test_a_malformed_file_is_one_line_without_a_word_of_the_libraries_below(tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    path.write_text('{"question": "a?", "answer": "1"}\n{"question": oops\n')
    ended = load_in_a_process(str(path), tmp_path)
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert "JSON parse error" in ended.stderr


def test_prompts_and_rewards_load_without_datasets(tmp_path: Path) -> None:
    ended = run_python(
        "import sys\n"
        "import jaxswarm.stages.dataset, jaxswarm.stages.registry\n"
        "heavy = {'datasets', 'jax', 'torch', 'transformers', 'numpy'} & set(sys.modules)\n"
        "sys.exit(str(sorted(heavy)) if heavy else 0)\n",
        tmp_path,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
