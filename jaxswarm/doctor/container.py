"""What a container that this runs in leaves of the machine's memory."""

import math
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")

_FILES = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)
"""The limit and what is used of it, in bytes: of cgroups of version 2, and of version 1."""


def memory_left(root: Path = CGROUPS) -> float:
    """Bytes that may still be taken; infinite where nothing limits them. `root`: of the cgroups."""
    for limit, usage in _FILES:
        try:
            allowed, used = (int((root / name).read_text()) for name in (limit, usage))
        except (OSError, ValueError):  # not of this version, or "max"
            continue
        return max(0, allowed - used + _given_back(root / Path(limit).with_name("memory.stat")))
    return math.inf


def _given_back(stat: Path) -> int:
    """Bytes of files that count as used, and are let go as soon as others need the memory."""
    try:
        held = dict(line.split() for line in stat.read_text().splitlines())
        # Version 1 has what lies in cgroups below under a name of its own.
        return int(held.get("total_inactive_file") or held.get("inactive_file", 0))
    except (OSError, ValueError):
        return 0
