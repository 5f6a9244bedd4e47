"""A disk that fills up under a node: one line, exit code 2, and it goes on later."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs import tiny
from jaxswarm.errors import InputError
from jaxswarm.model.checkpoint_source import steps
from jaxswarm.setup import assemble
from jaxswarm.tokenizer import Tokenizer

pytestmark = pytest.mark.faults

ROOT = Path(__file__).parents[1]
FLAGS = (
    f"--config={ROOT}/configs/tiny.py",
    "--config.swarm.enabled=False",
    "--config.rounds=2",
    "--config.stages.questions=2",
    "--config.grpo.group=2",
    "--config.generation.limit=8",
    "--config.evaluation.questions=0",
    "--config.output.checkpoint_stages=1",
    "--config.output.keep_checkpoints=1",
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small file system can't be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def run(directory: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    paths = (
        f"--config.output.directory={directory}",
        f"--config.output.compilation_cache={cache}",
    )
    return subprocess.run(
        [sys.executable, "-m", "jaxswarm.main", *FLAGS, *paths],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": os.environ["XLA_FLAGS"].split("=8")[0] + "=1"},
    )


def fill(disk: Path, leave: int) -> Path:
    ballast = disk / "ballast"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    ballast.write_bytes(bytes(free - leave))
    return ballast


@pytest.mark.slow
def test_a_node_ends_in_one_line_where_no_room_is_left_and_goes_on_where_there_is(
    small_disk: Path, tmp_path: Path
) -> None:
    ballast = fill(small_disk, leave=4 << 20)  # less than one checkpoint of the embedded model
    done = run(small_disk / "run", tmp_path / "xla")
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: free space for checkpoint")
    assert "free some space and start the same command again" in last
    assert steps(small_disk / "run" / "checkpoints") == []

    ballast.unlink()
    done = run(small_disk / "run", tmp_path / "xla")
    assert done.returncode == 0, done
    assert steps(small_disk / "run" / "checkpoints") == [6]


def test_a_start_on_a_full_disk_is_one_clear_line_and_tears_no_tokenizer(small_disk: Path) -> None:
    config = tiny.get_config()
    config.output.directory = str(small_disk / "run")
    source = assemble.model_source(config)
    tokenizer = assemble.tokenizer(source)
    saved = small_disk / "run" / "checkpoints" / "tokenizer"
    saved.mkdir(parents=True)
    (saved / "tokenizer.json").write_text("what was there")
    ballast = fill(small_disk, leave=12 << 10)  # of the 32 KB that tokenizer.json has
    with pytest.raises(InputError, match=r"tokenizer: got 'No space left.*free some space"):
        assemble.checkpointer(config, source, tokenizer)
    assert [path.name for path in saved.iterdir()] == ["tokenizer.json"]
    assert (saved / "tokenizer.json").read_text() == "what was there"

    ballast.unlink()
    assemble.checkpointer(config, source, tokenizer).close()
    assert len(list(saved.iterdir())) == 3
    assert Tokenizer(saved).stop_tokens == tokenizer.stop_tokens
