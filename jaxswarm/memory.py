"""Memory that has been freed, and is held all the same."""

import ctypes

ROUNDS = 20
"""Of a node, between two times that it hands memory back: to fetch it again takes a while."""


def give_back() -> None:
    """Hands freed memory back to the system, where the C library is glibc; else does nothing.

    Programs and checkpoints free hundreds of megabytes a round. glibc keeps them, for each of its
    arenas apart, and what it keeps grows for a hundred rounds while what is in use does not.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
