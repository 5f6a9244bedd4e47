"""Freed memory is kept for the next program, and goes back to the system when asked for."""

import ctypes
import re
import subprocess
import sys

import psutil
import pytest

from jaxswarm.host import memory

pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc"
)

MB = 2**20


def test_what_was_freed_between_what_is_in_use_is_handed_back():
    libc, process = ctypes.CDLL(None), psutil.Process()
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    size = 64 * 1024  # below the size that is mapped, and unmapped, on its own
    blocks = [libc.malloc(size) for _ in range(4000)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in blocks[:-1]:
        libc.free(block)
    kept = process.memory_info().rss
    memory.give_back()
    assert kept - process.memory_info().rss > 150 * MB
    libc.free(blocks[-1])


@pytest.mark.parametrize(("stages", "expected"), [(3, [1, 2, 3, 60, 120]), (1, [1, 20, 40])])
def test_a_node_hands_memory_back_in_its_first_round_and_then_every_twenty(
    monkeypatch, stages: int, expected: list[int]
):
    calls: list[None] = []
    monkeypatch.setattr(memory, "give_back", lambda: calls.append(None))
    handing_back = memory.HandingBack(stages)
    handed_back = []
    for stage in range(1, 42 * stages):
        before = len(calls)
        handing_back.after_stage()
        if len(calls) > before:
            handed_back.append(stage)
    assert handed_back == expected


HEAPS_OF_TEN_THREADS = """
import ctypes, threading
from jaxswarm.host import memory

memory.keep_freed()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
taken = threading.Barrier(10)
def take():
    libc.malloc(1000)
    taken.wait()
threads = [threading.Thread(target=take) for _ in range(10)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.malloc_stats()
"""


def test_many_threads_share_one_heap():
    command = [sys.executable, "-c", HEAPS_OF_TEN_THREADS]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    assert len(re.findall(r"^Arena \d+:", said, re.MULTILINE)) == 1


FAULTS_OF_EACH_USE = """
import ctypes, resource, threading
from jaxswarm.host import memory

memory.keep_freed()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def use():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(256 * 2**20)
    ctypes.memset(block, 1, 256 * 2**20)
    libc.free(block)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
for _ in range(2):
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
"""


def test_a_large_block_is_not_fetched_again_by_whichever_thread_takes_it():
    command = [sys.executable, "-c", FAULTS_OF_EACH_USE]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    first, second = map(int, said.split())
    assert first > 100
    assert second < first / 10
