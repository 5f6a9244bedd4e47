"""Freed memory goes back to the system."""

import ctypes
import subprocess
import sys

import pytest

FREED_BETWEEN_BLOCKS_IN_USE = """
import ctypes, psutil
from jaxswarm import memory

if {told}:
    memory.hold_little()
libc, size = ctypes.CDLL(None), 4 * 2**20
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.free(libc.malloc(size))  # from here on glibc takes such blocks from its heaps
before = psutil.Process().memory_info().rss
blocks = [libc.malloc(size) for _ in range(50)]
for block in blocks:
    ctypes.memset(block, 1, size)
for block in blocks[:-1]:
    libc.free(block)
print(psutil.Process().memory_info().rss - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_what_was_freed_between_blocks_in_use_is_handed_back():
    held_mb = [
        int(
            subprocess.run(
                [sys.executable, "-c", FREED_BETWEEN_BLOCKS_IN_USE.format(told=told)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        // 2**20
        for told in (False, True)
    ]
    assert held_mb[0] > 150, "without it they would be held"
    assert held_mb[1] < 10
