"""Memory that has been freed, and is held all the same. Where the C library is not glibc: nothing.

Programs and checkpoints free hundreds of megabytes a round. glibc keeps them in its heaps, of which
it makes up to eight a core, and what lies there between blocks in use grows for hundreds of rounds
while what is in use does not. To map large blocks on their own instead would keep memory as flat,
and cost 6% of the embedded default's time.
"""

import ctypes

HEAPS = 2
"""That threads take blocks from. It costs no time that could be measured."""
ROUNDS = 20
"""Of a node, between two times that it hands memory back: to fetch it again takes a while."""

_M_ARENA_MAX = -8
"""As malloc.h has it."""


def limit_heaps() -> None:
    """For the whole process; before it starts threads."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_ARENA_MAX, HEAPS)


def give_back() -> None:
    """Hands freed memory back to the system."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
