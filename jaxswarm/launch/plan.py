"""What the launcher is to start, and the command line that says so."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from jaxswarm.errors import InputError
from jaxswarm.host.paths import typed

SEED = "--config.seed="
ROUNDS = "--config.rounds="
DIRECTORY = "--config.output.directory="
FIRST_PEERS = "--config.swarm.first_peers="
INITIAL_PEERS = "--config.swarm.initial_peers="


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start: `command` with flags, once a node, each in `out`/node-i."""

    nodes: int
    config: str
    out: Path
    seed: int = 0
    """Of the first node; the next ones count up from it."""
    overrides: tuple[str, ...] = ()
    command: tuple[str, ...] = (sys.executable, "-m", "jaxswarm.main")

    @property
    def rounds(self) -> int | None:
        """How many the command line asks for; None: the config does."""
        given = _last(ROUNDS, self.overrides)
        return int(given) if given and given.isdecimal() else None

    def directory(self, index: int) -> Path:
        return self.out / f"node-{index}"

    def command_of(self, index: int, address: str | None, first_peers: int) -> list[str]:
        """The command line of one node; the first of a swarm has no `address` to join.

        `first_peers`: others that it waits for before its first stage.
        """
        flags = [
            f"{DIRECTORY}{self.directory(index)}",
            f"{SEED}{self.seed + index}",
            f"{FIRST_PEERS}{first_peers}",
        ]
        if address is not None:
            flags.append(f"{INITIAL_PEERS}{address}")
        return [*self.command, f"--config={self.config}", *flags, *self.overrides]

    def again(self) -> str:
        """The command that goes on with these nodes, for a shell."""
        words = ["--nodes", str(self.nodes), "--config", self.config, "--out", str(self.out)]
        if self.seed:
            words.append(f"{SEED}{self.seed}")
        # Not "python": after `make run` that is another one, without what is installed in .venv.
        return shlex.join([sys.executable, "-m", "jaxswarm.launch", *words, *self.overrides])


def parse(argv: Sequence[str]) -> Plan:
    """The plan that a command line asks for.

    Raises:
      InputError: it asks for something that can't be started.
    """
    parser = argparse.ArgumentParser(
        prog="python -m jaxswarm.launch",
        description="Starts the nodes of one swarm on this machine.",
        epilog="Flags of the form --config.a.b=value go to every node.",
        allow_abbrev=False,
    )
    parser.add_argument("--nodes", type=int, default=3, help="how many (default: 3)")
    parser.add_argument("--config", required=True, help="a config file, such as configs/tiny.py")
    parser.add_argument(
        "--out", type=typed, help="directory of the run (default: a new one in runs/)"
    )
    known, rest = parser.parse_known_args(argv)
    if known.nodes < 1:
        raise InputError("--nodes", got=known.nodes, expected="at least 1", remedy="raise it")
    file = known.config.split(":")[0]  # ml_collections takes FILE:ARGUMENT
    if not os.path.isfile(file):  # Path's own raises below what may not be entered
        raise InputError(
            "--config", got=file, expected="a config file", remedy="try configs/tiny.py"
        )
    for flag in rest:
        _check_override(flag)
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return Plan(
        nodes=known.nodes,
        config=known.config,
        out=known.out or Path("runs") / f"{Path(file).stem}-{stamp}",
        seed=_seed(rest),
        overrides=tuple(flag for flag in rest if not flag.startswith(SEED)),
    )


def _check_override(flag: str) -> None:
    if not flag.startswith("--config.") or "=" not in flag:
        raise InputError(
            "command line",
            got=flag,
            expected="--nodes, --config, --out, or --config.a.b=value",
            remedy="see --help",
        )
    if flag.startswith(DIRECTORY):
        raise InputError(
            "command line", got=flag, expected="one directory for all nodes", remedy="use --out"
        )


def _last(flag: str, overrides: Sequence[str]) -> str | None:
    """The value that counts of a flag that may be given several times."""
    given = [word.removeprefix(flag) for word in overrides if word.startswith(flag)]
    return given[-1] if given else None


def _seed(overrides: Sequence[str]) -> int:
    given = _last(SEED, overrides)
    try:
        return 0 if given is None else int(given)
    except ValueError:
        raise InputError(
            SEED.strip("-="), got=given, expected="an integer", remedy="correct it"
        ) from None
