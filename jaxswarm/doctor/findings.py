"""What the doctor says of one thing, and how long a check may take."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from jaxswarm.errors import InputError

PATIENCE_S = 20.0
"""For one check. What has not answered by then counts as out of reach."""


class Level(StrEnum):
    """Ordered from good to bad."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: of what, how it stands, and what to do about it ("" where nothing is)."""

    level: Level
    what: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"{self.level:8} {self.what:14} {self.found}"
        return f"{line}; {self.remedy}" if self.remedy else line


def verdict(levels: Sequence[Level]) -> str:
    """What all findings together come to."""
    for level, answer in (
        (Level.FAILURE, "it will not work here: "),
        (Level.WARNING, "it will work here; "),
    ):
        count = levels.count(level)
        if count:
            return f"{answer}{count} {level}{'s' if count > 1 else ''}"
    return "it will work here"


Check = Callable[[], Iterable[Finding]]


def run(what: str, check: Check, patience_s: float = PATIENCE_S) -> list[Finding]:
    """A check's findings; a failure for what it raises, or if it takes too long."""
    findings: list[Finding] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            findings.extend(check())
        except Exception as error:  # noqa: BLE001 raised below, in the caller's thread
            raised.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(patience_s)
    if thread.is_alive():
        remedy = "see what it waits for: a network that drops packets, a disk that hangs"
        return [Finding(Level.FAILURE, what, f"no answer in {patience_s:g} s", remedy)]
    if raised and isinstance(raised[0], InputError):
        return [*findings, Finding(Level.FAILURE, what, str(raised[0]))]
    if raised:
        raise raised[0]
    return findings
