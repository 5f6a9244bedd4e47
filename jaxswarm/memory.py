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
    _tell_glibc("mallopt", _M_ARENA_MAX, HEAPS)


def give_back() -> None:
    """Hands freed memory back to the system."""
    _tell_glibc("malloc_trim", 0)


def _tell_glibc(function: str, *arguments: int) -> None:
    call = getattr(ctypes.CDLL(None), function, None)
    if call is not None:
        call(*arguments)
