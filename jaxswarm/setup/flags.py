"""The command line of the programs that take a config: --config=FILE and --config.a.b=value."""

import difflib
import re
import runpy
import shlex
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

import jaxswarm
from jaxswarm.errors import InputError

Config = Any
"""An `ml_collections.ConfigDict`: which keys it has, and their types, its own file says."""

WHOLE = Path(jaxswarm.__file__).parents[1] / "configs" / "gsm8k.py"
"""The config file that has every key. By its path: who starts a program in a directory with a
package `configs` of its own would import that."""

OWN_KEYS = frozenset(
    (
        "seed",
        "mesh.data",
        "mesh.fsdp",
        "mesh.tensor",
        "output.compilation_cache",
        "output.directory",
        "swarm.announce_maddrs",
        "swarm.client_mode",
        "swarm.first_peers",
        "swarm.host_maddrs",
        "swarm.identity",
        "swarm.identity_backup",
        "swarm.initial_peers",
        "swarm.use_auto_relay",
    )
)
"""What a node is told for itself alone: whoever joins it has his own."""


def define(values: flags.FlagValues) -> None:
    """Adds --config to the flags of a program."""
    config_flags.DEFINE_config_file(
        "config", None, "a config file, such as configs/gsm8k.py", flag_values=values
    )
    # ml_collections' own way to load a file lets some of its errors pass, and keeps others for
    # later without the file's name.
    values["config"].parser = _Loader()


def parse(values: flags.FlagValues, usage: str) -> Config:
    """The config that the command line of this process asks for, locked.

    Args:
      values: the program's flags, `define` done.
      usage: what `--help` shows, with the flags below it.

    Raises:
      InputError: no config or one that can't be read or has other keys, an unknown key or flag, a
        value of another type, or words that are no flag.
      SystemExit: with code 0, when help was asked for and has been printed.
    """
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(_help(values, usage))
        sys.exit(0)
    try:
        # ml_collections reads sys.argv itself, so no other list would do.
        rest = values(sys.argv)[1:]
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            "the command line",
            got=_one_line(error),
            expected="--config=FILE and --config.a.b=VALUE with keys of that file",
            remedy="configs/gsm8k.py lists every key with its type and unit",
        ) from error
    config = values.config
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
        if re.match(r"--?[a-z]", word):  # else a value, such as -1
            own = _key_of(word) in OWN_KEYS
        if not own:
            kept.append(word)
    joined = shlex.join([*kept, f"--config.swarm.initial_peers={address}"])
    return f"python -m jaxswarm.main {joined}"


class _Loader(flags.ArgumentParser):
    """Loads a config file, before ml_collections looks for the keys of the command line in it."""

    def parse(self, argument: str) -> Config:
        file, *arguments = argument.split(":", 1)  # ml_collections takes FILE:ARGUMENT
        if not Path(file).is_file():
            raise InputError(
                "--config", got=file, expected="a config file", remedy="try configs/tiny.py"
            )
        try:
            config = _config_of(file, *arguments)
            if not isinstance(config, ConfigDict):
                raise TypeError(f"get_config() returned {type(config).__name__}")
        except Exception as error:
            raise InputError(
                f"config file {file}",
                got=_where_and_what(error, file),
                expected="a Python file whose get_config() returns a ConfigDict",
                remedy="correct it, or begin anew with a copy of configs/gsm8k.py",
            ) from error
        whole = _config_of(str(WHOLE))
        lacking, strange = list(_lacking(config, whole)), list(_lacking(whole, config))
        if lacking or strange:
            raise InputError(
                f"config file {file}",
                got=f"no {', '.join(lacking)}" if lacking else ", ".join(strange),
                expected="every key of configs/gsm8k.py, and no other",
                remedy="begin your file with: config = gsm8k.get_config()",
            )
        config.lock()
        for word in sys.argv[1:]:
            _check_key(word, config)
        return config


def _config_of(file: str, *arguments: str) -> Config:
    return runpy.run_path(file)["get_config"](*arguments)


def _lacking(config: ConfigDict, whole: ConfigDict, section: str = "") -> Iterator[str]:
    """The keys of `whole`, or its sections, that `config` has not."""
    for name, there in whole.items():
        here = config.get(name)
        if isinstance(there, ConfigDict) and isinstance(here, ConfigDict):
            yield from _lacking(here, there, f"{section}{name}.")
        elif name not in config or isinstance(there, ConfigDict):
            yield f"{section}{name}"


def _check_key(word: str, config: Config) -> None:
    key, keys = _key_of(word), _keys(config)
    if key is None or key in keys:
        return
    near = difflib.get_close_matches(key, keys, n=1)
    raise InputError(
        "the command line",
        got=word.split("=", 1)[0],
        expected="a key of the config file",
        remedy=f"did you mean --config.{near[0]}?"
        if near
        else "configs/gsm8k.py lists every key with its type and unit",
    )


def _keys(config: ConfigDict) -> list[str]:
    """Every key and every section."""
    keys = []
    for name, below in config.items():
        keys.append(name)
        if isinstance(below, ConfigDict):
            keys += [f"{name}.{key}" for key in _keys(below)]
    return keys


def _key_of(word: str) -> str | None:
    """The key that a word of a command line sets; None where it sets none."""
    flag = re.match(r"--?(?:no)?config\.([^=]*)", word)
    return flag and flag[1]


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


def _where_and_what(error: Exception, file: str) -> str:
    """Names the last line of the file that led to an error, as nobody is shown a traceback."""
    lines = [at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == file]
    where = f"line {lines[-1]}: " if lines else ""
    return f"{where}{type(error).__name__}: {_one_line(error)}"
