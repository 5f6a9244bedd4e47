"""Limits of a container's memory, as the kernel tells them in files."""

import math
from pathlib import Path

import jax
import pytest

from jaxswarm.doctor import container, machine
from jaxswarm.doctor.container import memory_left
from jaxswarm.model.sharding import make_mesh

pytestmark = pytest.mark.faults

GB = 10**9


def tell(directory: Path, **files: str) -> None:
    directory.mkdir(exist_ok=True)
    for name, text in files.items():
        (directory / f"memory.{name}").write_text(text + "\n")


def test_what_is_used_and_can_t_be_given_back_is_taken_from_the_limit(tmp_path: Path) -> None:
    assert memory_left(tmp_path) == math.inf
    tell(tmp_path, max=f"{8 * GB}", current=f"{5 * GB}")
    assert memory_left(tmp_path) == 3 * GB
    tell(tmp_path, stat=f"anon {GB}\ninactive_file {2 * GB}\nactive_file {GB}")
    assert memory_left(tmp_path) == 5 * GB
    tell(tmp_path, max="max")
    assert memory_left(tmp_path) == math.inf
    tell(tmp_path, max=f"{GB}")
    assert memory_left(tmp_path) == 0


def test_cgroups_of_version_1_are_read_too(tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    tell(memory, limit_in_bytes=f"{8 * GB}", usage_in_bytes=f"{5 * GB}")
    tell(memory, stat=f"inactive_file 0\ntotal_inactive_file {GB}")
    assert memory_left(tmp_path) == 4 * GB
    tell(memory, limit_in_bytes="9223372036854771712")
    assert memory_left(tmp_path) > 2**62, "as the kernel writes that there is no limit"


def test_a_container_that_allows_less_than_its_host_has_is_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mesh = make_mesh(data=1, fsdp=1, tensor=1, devices=jax.devices()[:1])
    monkeypatch.setattr(container, "memory_left", lambda: 12345)
    assert machine.memory_had(mesh) == 12345
