"""Checkpoints on a real disk: round trips, kills, a full disk, other models."""

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from jaxswarm.errors import InputError
from jaxswarm.learner.checkpoint import Checkpointer
from jaxswarm.learner.train_step import TrainState
from jaxswarm.model import weights
from jaxswarm.model.checkpoint_source import steps
from jaxswarm.model.qwen2 import Qwen2
from jaxswarm.model.sharding import make_mesh, param_shardings
from jaxswarm.model.sources import open_source
from tests.learner import tiny

OPTIMIZER = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
NOTES = {"round": 3, "stage_index": 1, "seed": 7}


def make_state(seed: int = 0, config=tiny.CONFIG, step: int = 5) -> TrainState:
    """A state as training leaves it: every array, moments and counters too, is random."""
    params = nnx.state(Qwen2(config, nnx.Rngs(0)))
    rng = np.random.default_rng(seed)
    state = TrainState(params, OPTIMIZER.init(params), jnp.int32(step))
    return jax.tree.map(
        lambda a: jnp.asarray(rng.normal(scale=9, size=a.shape).astype(a.dtype)), state
    )


def abstract(state: TrainState) -> TrainState:
    return jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), state
    )


def assert_same(state: TrainState, expected: TrainState) -> None:
    assert jax.tree.structure(state) == jax.tree.structure(expected)
    chex.assert_trees_all_equal(state, expected)


@pytest.fixture
def checkpointer(tmp_path: Path) -> Iterator[Checkpointer]:
    made = Checkpointer(tmp_path / "run", tiny.CONFIG, keep=2)
    yield made
    made.close()


def test_a_state_and_its_notes_come_back_bit_for_bit(checkpointer):
    state = make_state()
    assert checkpointer.latest() is None
    checkpointer.save(4, state, NOTES)
    checkpointer.wait()
    assert checkpointer.latest() == 4
    restored, notes = checkpointer.restore(abstract(state))
    assert_same(restored, state)
    assert notes == NOTES


def test_training_on_while_a_checkpoint_is_written_does_not_change_it(checkpointer):
    state = make_state()
    expected = jax.tree.map(np.array, state)
    change = jax.jit(lambda s: jax.tree.map(lambda a: a * 2 + 1, s), donate_argnums=0)
    checkpointer.save(0, state, NOTES)
    for _ in range(3):
        state = change(state)
    jax.block_until_ready(state)
    checkpointer.wait()
    assert_same(checkpointer.restore(abstract(state))[0], expected)


def test_the_last_n_are_kept(checkpointer, tmp_path):
    states = [make_state(seed) for seed in range(4)]
    for step, state in enumerate(states):
        checkpointer.save(step, state, NOTES)
    checkpointer.wait()
    assert_same(checkpointer.restore(abstract(states[0]))[0], states[3])
    assert steps(tmp_path / "run") == [2, 3]


def test_a_state_is_restored_onto_another_mesh(checkpointer):
    state = make_state()
    checkpointer.save(0, state, NOTES)
    checkpointer.wait()
    mesh = make_mesh(data=2, fsdp=2, tensor=2)
    everywhere = NamedSharding(mesh, PartitionSpec())
    place = jax.tree.map(lambda _: everywhere, state)
    place = place._replace(params=param_shardings(state.params, mesh))
    target = jax.tree.map(
        lambda a, where: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where), state, place
    )
    restored, _ = checkpointer.restore(target)
    assert_same(restored, state)
    jax.tree.map(lambda a, where: _assert_lies(a, where), restored, place)


def _assert_lies(array: jax.Array, where: NamedSharding) -> None:
    assert array.sharding == where


def test_restoring_from_an_empty_directory_is_one_clear_line(checkpointer):
    with pytest.raises(InputError, match="got 'none'; expected at least one"):
        checkpointer.restore(abstract(make_state()))


def test_a_checkpoint_of_another_model_is_refused_by_the_field_that_differs(tmp_path):
    state = make_state()
    with_two = Checkpointer(tmp_path, tiny.CONFIG, keep=2)
    with_two.save(0, state, NOTES)
    with_two.close()
    other = dataclasses.replace(tiny.CONFIG, rope_theta=1e6)
    checkpointer = Checkpointer(tmp_path, other, keep=2)
    with pytest.raises(InputError, match=r"rope_theta of the model .* got 10000.0; expected 1000"):
        checkpointer.restore(abstract(state))
    checkpointer.close()


def test_another_optimizer_is_refused_by_the_array_that_differs(checkpointer):
    state = make_state()
    checkpointer.save(0, state, NOTES)
    checkpointer.wait()
    plain = state._replace(opt_state=optax.sgd(1e-3, momentum=0.9).init(state.params))
    with pytest.raises(InputError, match=r"opt_state\.0\.trace.* got 'nothing'; expected \("):
        checkpointer.restore(abstract(plain))
    wider = state._replace(step=jnp.zeros(3, jnp.int32))
    with pytest.raises(InputError, match=r"step in checkpoint .* got \(\); expected \(3,\)"):
        checkpointer.restore(abstract(wider))


def test_a_damaged_checkpoint_is_one_clear_line(checkpointer, tmp_path):
    state = make_state()
    checkpointer.save(0, state, NOTES)
    checkpointer.wait()
    for damage in ("metadata/metadata", "state/_METADATA", "state"):
        path = tmp_path / "run" / "0" / damage
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        for summed in (True, False):
            if not summed:
                (tmp_path / "run" / "0" / "checksums.json").unlink(missing_ok=True)
            with pytest.raises(InputError, match="expected a whole checkpoint") as caught:
                checkpointer.restore(abstract(state))
            assert "\n" not in str(caught.value)


def largest_file(checkpoint: Path) -> Path:
    return max(checkpoint.rglob("*"), key=lambda path: path.stat().st_size * path.is_file())


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty_out(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.faults
@pytest.mark.parametrize("save_async", [True, False], ids=["async", "sync"])
@pytest.mark.parametrize("damage", [flip_a_bit, cut, empty_out, Path.unlink])
def test_after_damage_the_last_whole_checkpoint_is_used_and_the_run_goes_on(
    tmp_path, damage, save_async
):
    run = tmp_path / "run"
    checkpointer = Checkpointer(run, tiny.CONFIG, keep=3, save_async=save_async)
    states = [make_state(seed) for seed in range(4)]
    for step in range(3):
        checkpointer.save(step, states[step], {"round": step})
    checkpointer.close()
    for step in (1, 2):
        damage(largest_file(run / str(step)))
    checkpointer = Checkpointer(run, tiny.CONFIG, keep=3, save_async=save_async)
    restored, notes = checkpointer.restore(abstract(states[0]))
    assert_same(restored, states[0])
    assert notes == {"round": 0}
    assert len(checkpointer.put_aside) == 2
    for line in checkpointer.put_aside:
        assert re.fullmatch(r"checkpoint \d is damaged \(.+\): moved to .+damaged-\d", line)
    assert sorted(path.name for path in run.glob("damaged-*")) == ["damaged-1", "damaged-2"]
    assert checkpointer.latest() == 0
    checkpointer.save(1, states[3], {"round": 1})
    checkpointer.wait()
    assert_same(checkpointer.restore(abstract(states[0]))[0], states[3])
    checkpointer.close()


def test_where_all_are_damaged_none_is_touched_and_nothing_begins_anew(checkpointer, tmp_path):
    state = make_state()
    for step in (0, 1):
        checkpointer.save(step, state, NOTES)
    checkpointer.wait()
    for step in (0, 1):
        flip_a_bit(largest_file(tmp_path / "run" / str(step)))
    with pytest.raises(InputError, match=r"checkpoint .*/1: got '.*has another content'"):
        checkpointer.restore(abstract(state))
    assert checkpointer.latest() == 1


def test_damage_is_noticed_without_checksums_where_no_array_can_be_made_of_it(
    checkpointer, tmp_path
):
    state = make_state()
    checkpointer.save(0, state, NOTES)
    checkpointer.wait()
    (tmp_path / "run" / "0" / "checksums.json").unlink()
    assert_same(checkpointer.restore(abstract(state))[0], state)
    cut(largest_file(tmp_path / "run" / "0"))
    with pytest.raises(InputError, match="expected a whole checkpoint") as caught:
        checkpointer.restore(abstract(state))
    assert "\n" not in str(caught.value)


WRITER = """
import sys
from pathlib import Path
import jax.numpy as jnp, numpy as np
from jaxswarm.learner.checkpoint import Checkpointer
from tests.learner import tiny
from tests.learner.test_checkpoint import make_state
checkpointer = Checkpointer(Path(sys.argv[1]), tiny.CONFIG, keep=2)
checkpointer.save(0, {"small": make_state(0)}, {"round": 0})
checkpointer.wait()
print("written", flush=True)
noise = np.random.default_rng(0).integers(0, 256, 400_000_000, np.uint8)
checkpointer.save(1, {"small": make_state(1), "noise": noise.view(np.int32)}, {"round": 1})
checkpointer.close()
print("not killed in time", flush=True)
"""


@pytest.mark.faults
def test_a_kill_in_the_middle_of_a_save_leaves_the_checkpoint_before_usable(tmp_path):
    directory = tmp_path / "run"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory)], stdout=subprocess.PIPE, text=True
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        while not (torn := _written(directory)) and writer.poll() is None:
            time.sleep(0.001)
        os.kill(writer.pid, signal.SIGKILL)
        assert writer.stdout.read() == ""
    assert torn, "killed while the second one was being written"
    assert [path.name for path in directory.iterdir() if path.name.isdigit()] == ["0"]

    checkpointer = Checkpointer(directory, tiny.CONFIG, keep=2)
    assert checkpointer.latest() == 0
    assert not list(directory.glob("1*")), "what was half written is gone"
    state = {"small": make_state(0)}
    restored, notes = checkpointer.restore(abstract(state))
    assert_same(restored["small"], state["small"])
    assert notes == {"round": 0}
    checkpointer.save(1, {"small": make_state(1)}, {"round": 1})
    checkpointer.close()
    assert checkpointer.latest() == 1


def _written(directory: Path) -> int:
    """Bytes of the second checkpoint that are on the disk so far."""
    torn = directory.glob("1.orbax*/**/*")
    try:
        return sum(path.stat().st_size for path in torn if path.is_file())
    except FileNotFoundError:
        return 0


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of its own, with the options that the test asks for."""
    options = request.param
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", tmp_path], capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"a small file system can't be mounted here: {mount.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.faults
@pytest.mark.parametrize("small_disk", ["size=1m"], indirect=True)
def test_a_full_disk_is_one_clear_line_and_keeps_the_checkpoint_before(small_disk):
    state = make_state()
    checkpointer = Checkpointer(small_disk / "run", tiny.CONFIG, keep=2)
    checkpointer.save(0, state, NOTES)
    checkpointer.wait()
    ballast = shutil.disk_usage(small_disk).free - 100_000
    (small_disk / "ballast").write_bytes(b"x" * ballast)
    with pytest.raises(InputError, match=r"free space for checkpoint .* it goes on from .* 0"):
        checkpointer.save(1, state, NOTES)
    assert_same(checkpointer.restore(abstract(state))[0], state)
    (small_disk / "ballast").unlink()
    checkpointer.save(1, state, NOTES)
    checkpointer.close()
    assert checkpointer.latest() == 1


@pytest.mark.parametrize("small_disk", ["size=64m,nr_inodes=100"], indirect=True)
@pytest.mark.parametrize("save_async", [True, False], ids=["async", "sync"])
@pytest.mark.parametrize(
    "files_left",
    # A save that fails halfway leaves closed event loops of Orbax's to this test or to the next.
    [0, pytest.param(8, marks=pytest.mark.slow)],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_disk_that_fails_while_writing_is_one_clear_line(small_disk, save_async, files_left):
    state = make_state()
    checkpointer = Checkpointer(small_disk / "run", tiny.CONFIG, keep=2, save_async=save_async)
    checkpointer.save(0, state, NOTES)
    checkpointer.wait()
    while _can_make_a_file(small_disk):
        pass
    for index in range(1, files_left + 1):
        (small_disk / f"file{index}").unlink()

    def save() -> None:
        checkpointer.save(1, state, NOTES)
        checkpointer.wait()

    with pytest.raises(InputError, match=r"; expected a directory that can be written") as caught:
        save()
    assert "\n" not in str(caught.value)
    checkpointer.close()
    again = Checkpointer(small_disk / "run", tiny.CONFIG, keep=2)
    assert again.latest() == 0
    assert_same(again.restore(abstract(state))[0], state)
    again.close()


def _can_make_a_file(directory: Path) -> bool:
    try:
        (directory / f"file{len(list(directory.iterdir()))}").touch()
    except OSError:
        return False
    return True


def test_a_run_s_checkpoint_is_a_source_of_weights(checkpointer, tmp_path):
    state = make_state()
    for step in (0, 1):
        checkpointer.save(step, make_state(step), NOTES)
    checkpointer.wait()
    mesh = make_mesh(data=1, fsdp=1, tensor=1, devices=jax.devices()[:1])
    for name, seed in (("run", 1), ("run/1", 1), ("run/0", 0)):
        source = open_source(str(tmp_path / name))
        assert source.config == tiny.CONFIG
        assert source.tokenizer == checkpointer.tokenizer_directory
        params = weights.load(source, mesh, "float32")
        assert_same(state._replace(params=params), state._replace(params=make_state(seed).params))
