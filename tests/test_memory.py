"""Freed memory goes back to the system."""

import ctypes
import re
import subprocess
import sys

import psutil
import pytest

from jaxswarm import memory

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


HEAPS_OF_TEN_THREADS = """
import ctypes, threading
from jaxswarm import memory

memory.limit_heaps()
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


def test_many_threads_share_two_heaps():
    command = [sys.executable, "-c", HEAPS_OF_TEN_THREADS]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    assert len(re.findall(r"^Arena \d+:", said, re.MULTILINE)) == memory.HEAPS
