"""Before a run: will it work here? `python -m jaxswarm.doctor --config configs/gsm8k.py`

Takes the flags of jaxswarm.main and writes nothing in the run's directory; of the data set and the
model's config it fetches what is not there yet, else it takes seconds. Each line is ok, a warning
or a failure with its remedy; the last one is the verdict. Exit codes: 0 no failure; 1 a failure; 2
the flags can't be used.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from absl import flags as absl_flags

from jaxswarm.doctor import identity, machine
from jaxswarm.doctor.findings import Finding, Level, run, verdict
from jaxswarm.errors import InputError
from jaxswarm.host import paths, readers
from jaxswarm.host.ending import UNUSABLE
from jaxswarm.model import weights
from jaxswarm.model.config import ModelConfig
from jaxswarm.setup import assemble, flags, settings

FETCH_S = 90.0
"""For what may not be there yet, and what is read whole: a checkpoint's checksums, all rows."""


@readers.may_leave()
def main() -> int:
    """Returns the exit code."""
    values = absl_flags.FlagValues()
    flags.define(values)
    try:
        config = flags.parse(values, __doc__ or "")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return UNUSABLE
    levels = []
    for finding in examine(config):
        print(finding, flush=True)
        levels.append(finding.level)
    print(verdict(levels))
    return int(Level.FAILURE in levels)


def examine(config: flags.Config) -> Iterator[Finding]:
    """Everything, one check after the other; none keeps the others from being made."""
    yield from run("versions", lambda: machine.versions(_requirements(config)))
    yield from run("config", lambda: _config(config))
    models: list[ModelConfig] = []
    yield from run("model", lambda: _model(config, models), patience_s=FETCH_S)
    yield from run("data", lambda: _data(config), patience_s=FETCH_S)
    for model in models:
        yield from run("devices", lambda model=model: _devices(config, model))
        yield from run("disk", lambda model=model: _disk(config, model))
    if config.swarm.enabled:
        yield from run("swarm", lambda: _swarm(config), patience_s=90.0)


def _requirements(config: flags.Config) -> list[str]:
    """What the package asks for, of which a solo run needs neither hivemind nor torch."""
    asked = machine.requirements()
    return [line for line in asked if config.swarm.enabled or not line.startswith("hivemind")]


def _config(config: flags.Config) -> Iterator[Finding]:
    assemble.plans(config)
    assemble.check_values(config)
    yield Finding(Level.OK, "config", "its values can be used")


def _model(config: flags.Config, found: list[ModelConfig]) -> Iterator[Finding]:
    if os.path.exists(paths.typed(config.model.source)):
        source = assemble.model_source(config)
        weights.check(source)
        assemble.tokenizer(source)
        model = source.config
    else:
        model = assemble.model_config(config)
    found.append(model)
    size = f"{model.num_parameters / 1e6:,.1f}M parameters"
    yield Finding(Level.OK, "model", f"{config.model.source}, {size}")


def _data(config: flags.Config) -> Iterator[Finding]:
    data = assemble.data(config)
    found = f"{config.data.source}, {data.counts()}"
    if data.skipped:
        remedy = "see that data.question_column and data.answer_column are the right columns"
        yield Finding(Level.WARNING, "data", found, remedy)
    else:
        yield Finding(Level.OK, "data", found)
    assemble.check_data(config, data)


def _devices(config: flags.Config, model: ModelConfig) -> Iterator[Finding]:
    mesh = assemble.mesh(config)
    assemble.check_model(config, model)
    yield from machine.devices(model, mesh)
    needed = machine.memory_needed(config, model, mesh, settings.dtype(config.model.dtype))
    yield from machine.memory(needed, machine.memory_had(mesh))


def _disk(config: flags.Config, model: ModelConfig) -> Iterator[Finding]:
    directory = settings.output_directory(config)
    yield from machine.disk(directory, model, config.output.keep_checkpoints)


def _swarm(config: flags.Config) -> Iterator[Finding]:
    from jaxswarm.doctor import network

    dht = settings.dht(config)
    backup = Path(dht.identity_backup) if dht.identity_backup else None
    yield from identity.identity(Path(dht.identity_path), backup)
    if config.swarm.secret_file:
        yield from network.secret(paths.typed(config.swarm.secret_file))
    yield from network.network(dht)


if __name__ == "__main__":
    sys.exit(main())
