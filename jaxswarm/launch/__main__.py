"""Starts the nodes of one swarm on this machine, shows them, and says at the end what they did.

    python -m jaxswarm.launch --nodes 3 --config configs/tiny.py [--out DIR] [--config.a.b=c ...]

The first node starts the swarm; the others join it by the address that the first one writes to its
`node.json`. Each is a process of `jaxswarm.main` with a directory and a seed of its own; the other
flags reach all of them as they are. The same `--out` again goes on where its nodes stopped. Exit
codes: 0 every node finished; 2 what was given can't be used; 1 all else.
"""

import sys
from collections.abc import Sequence

from rich.console import Console

from jaxswarm.errors import InputError
from jaxswarm.host import readers
from jaxswarm.host.ending import UNUSABLE
from jaxswarm.launch.launcher import launch
from jaxswarm.launch.plan import parse

WIDTH_WITHOUT_TERMINAL = 160
"""The table's columns stay whole in a log."""


@readers.may_leave()
def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code."""
    try:
        plan = parse(sys.argv[1:] if argv is None else argv)
        console = Console()
        if not console.file.isatty():
            console = Console(width=WIDTH_WITHOUT_TERMINAL)
        return launch(plan, console)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return UNUSABLE


if __name__ == "__main__":
    sys.exit(main())
