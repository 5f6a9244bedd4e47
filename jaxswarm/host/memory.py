"""Memory that has been freed: kept for the next program, and handed back now and then.

Each program on a CPU takes its arrays in one block, up to gigabytes, and frees it at its end. glibc
maps a block of that size on its own and unmaps it when it is freed, so that every run of a program
fetches each of its pages anew: a sixth of an update of Qwen2.5-0.5B (benchmarks/results/README.md).
Of its heaps only the first can grow so far, and threads would have others, up to eight a core: they
are made to share the first one. Where the C library is not glibc, nothing here does anything.
"""

import ctypes

ROUNDS = 20
"""Of a node, between two times that it hands memory back: to fetch it again takes a while."""

# As malloc.h has them.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_M_ARENA_MAX = -8


def keep_freed() -> None:
    """One heap for all threads, which keeps what is freed. Before the process starts threads."""
    _tell_glibc("mallopt", _M_ARENA_MAX, 1)
    _tell_glibc("mallopt", _M_MMAP_MAX, 0)
    _tell_glibc("mallopt", _M_TRIM_THRESHOLD, -1)


def give_back() -> None:
    """Hands freed memory back to the system."""
    _tell_glibc("malloc_trim", 0)


class HandingBack:
    """When a node hands freed memory back."""

    def __init__(self, stages: int) -> None:
        """`stages`: of a round."""
        self._of_round = stages
        self._played = 0

    def after_stage(self) -> None:
        """After each stage of the first round that is played here, and then every `ROUNDS`.

        In the first, blocks that stay are scattered over the heap, and a large one would find no
        place between them and be taken anew. Later seldom; but what lies freed between blocks in
        use grows for hundreds of rounds.
        """
        self._played += 1
        if self._played <= self._of_round or self._played % (ROUNDS * self._of_round) == 0:
            give_back()


def _tell_glibc(function: str, *arguments: int) -> None:
    call = getattr(ctypes.CDLL(None), function, None)
    if call is not None:
        call(*arguments)
