"""The command line of the programs that take a config: --config=FILE and --config.a.b=value."""

import shlex
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from jaxswarm.errors import InputError

Config = Any
"""An `ml_collections.ConfigDict`: which keys it has, and their types, its own file says."""

OWN_KEYS = frozenset(
    f"--config.{key}"
    for key in (
        "seed",
        "output.directory",
        "swarm.announce_maddrs",
        "swarm.first_peers",
        "swarm.host_maddrs",
        "swarm.identity",
        "swarm.identity_backup",
        "swarm.initial_peers",
    )
)
"""What a node is told for itself alone: whoever joins it has his own."""


def define(values: flags.FlagValues) -> None:
    """Adds --config to the flags of a program."""
    config_flags.DEFINE_config_file(
        "config", None, "a config file, such as configs/gsm8k.py", flag_values=values
    )


def parse(values: flags.FlagValues, usage: str) -> Config:
    """The config that the command line of this process asks for, locked.

    Args:
      values: the program's flags, `define` done.
      usage: what `--help` shows, with the flags below it.

    Raises:
      InputError: no config or one that can't be read, an unknown key or flag, a value of another
        type, or words that are no flag.
      SystemExit: with code 0, when help was asked for and has been printed.
    """
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(_help(values, usage))
        sys.exit(0)
    try:
        # ml_collections reads sys.argv itself, so no other list would do.
        rest = values(sys.argv)[1:]
        config = values.config
        if config is not None:
            config.lock()  # a file that could not be loaded raises its error here, at first use
    except (flags.Error, AttributeError, KeyError) as error:
        raise InputError(
            "the command line",
            got=_one_line(error),
            expected="--config=FILE and --config.a.b=VALUE with keys of that file",
            remedy="configs/gsm8k.py lists every key with its type and unit",
        ) from error
    except (OSError, SyntaxError, ImportError) as error:
        raise InputError(
            "--config",
            got=_one_line(error),
            expected="a Python file with get_config()",
            remedy="give --config=configs/gsm8k.py or a copy of it",
        ) from error
    if config is None or rest:
        raise InputError(
            "the command line",
            got=" ".join(rest) or "no --config",
            expected="--config=FILE first, then --config.a.b=VALUE",
            remedy="for example: python -m jaxswarm.main --config configs/gsm8k.py",
        )
    return config


def value(config: Config, key: str) -> Any:
    """What a config has under a key such as "grpo.group"."""
    for name in key.split("."):
        config = config[name]
    return config


def to_join(words: Sequence[str], address: str) -> str:
    """The command by which another machine joins this node's swarm, for a shell.

    Args:
      words: this node's command line, without the program. A value may stand in a word of its own.
      address: where this node is reached.
    """
    kept, own = [], False
    for word in words:
        if word.startswith("-"):
            own = word.split("=", 1)[0] in OWN_KEYS
        if not own:
            kept.append(word)
    joined = shlex.join([*kept, f"--config.swarm.initial_peers={address}"])
    return f"python -m jaxswarm.main {joined}"


def _help(values: flags.FlagValues, usage: str) -> str:
    lines = [f"  --{name}: {values[name].help}" for name in sorted(values)]
    lines.append("  --config.KEY=VALUE: any key of that file, which says what each of them means")
    return "\n".join([usage.strip(), "", "Flags:", *lines])


def _one_line(error: Exception) -> str:
    # ml_collections wraps one error in another, and a KeyError shows its message in quotes.
    text: object = error
    while isinstance(text, AttributeError | KeyError) and text.args:
        text = text.args[0]
    return " ".join(str(text).replace("'", '"').split())
