"""The launcher as a program of its own, with `stand_in_node.py` in the place of its nodes."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in_node.py")))


def as_program(out: Path, *overrides: str) -> list[str]:
    """The launcher's own command line but for the nodes, of which a stand-in takes the place."""
    code = (
        "import sys; from pathlib import Path\n"
        "from jaxswarm.launch import __main__ as program, panel\n"
        "from jaxswarm.launch.plan import Plan\n"
        f"plan = Plan(3, 'tiny.py', Path({str(out)!r}), overrides={overrides!r},"
        f" command={STAND_IN!r})\n"
        "panel.PLAIN_EVERY_S = 0.5\n"
        "program.parse = lambda words: plan\n"
        "sys.exit(program.main())"
    )
    return [sys.executable, "-c", code]


def eventually(fact: Callable[[], object], within_s: float = 60.0) -> bool:
    deadline = time.monotonic() + within_s
    while not fact() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(fact())
