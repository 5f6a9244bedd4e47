"""What a node does, read from its log, where no phase is too short to be seen; and a long one."""

import re
import subprocess
import time
from pathlib import Path

ENDLESS = (
    "--config.stages.questions=128",
    "--config.grpo.group=64",
    "--config.generation.limit=360",
)
"""A stage of minutes, on any machine that this may run on."""

_LINE = re.compile(r"\| (round \S+ \w+) \| \d+% \| (.+) \(")


def reach(
    process: "subprocess.Popen[bytes]", log: Path, phase: str, *, begins: int = 0, stages: int = 0
) -> None:
    """Returns once the process has said that it is in that phase, `stages` stages after its first.

    `begins`: the log's length when the process was started.
    """
    while True:
        has_ended = process.poll() is not None
        said = log.read_bytes()[begins:].decode(errors="replace")
        places: set[str] = set()
        for place, doing in _LINE.findall(said):
            places.add(place)
            if doing.startswith(phase) and len(places) > stages:
                return
        assert not has_ended, said
        time.sleep(0.005)
