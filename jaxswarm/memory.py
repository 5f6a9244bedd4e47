"""How much freed memory the process holds on to."""

import ctypes

LARGE = 2**20
"""Bytes, from which on a block is mapped on its own, and unmapped when it is freed."""
ARENAS = 2
"""Heaps that threads take blocks from."""

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
"""As malloc.h has them."""


def hold_little() -> None:
    """Tells the C library, where it is glibc, to hand freed memory back; for the whole process.

    Programs and checkpoints free hundreds of megabytes a round. By itself glibc takes blocks of up
    to 32 MiB from its heaps, of which it makes eight a core, and each heap keeps what lies between
    blocks in use: what is held grows for hundreds of rounds while what is in use does not.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_MMAP_THRESHOLD, LARGE)
        set_option(_M_ARENA_MAX, ARENAS)
