"""Measures a model, or a checkpoint of a run, on held-out questions.

    python -m jaxswarm.evaluate --config configs/gsm8k.py [--checkpoint runs/gsm8k/checkpoints]

Asks the answer-stage prompt: greedy, and the mean of --config.evaluation.samples. Shows a progress
bar on stderr, and prints the figures as JSON, or writes them to --json FILE.
"""

import json
import math
import os
import sys
from dataclasses import asdict
from pathlib import Path

from absl import flags as absl_flags
from tqdm import tqdm

from jaxswarm.errors import InputError
from jaxswarm.host import readers
from jaxswarm.host.ending import UNUSABLE
from jaxswarm.host.paths import typed
from jaxswarm.node.held_out import Evaluation, evaluate
from jaxswarm.records import Stage
from jaxswarm.setup import assemble, flags, settings


@readers.may_leave()
def main() -> int:
    """Returns the exit code: 0, or 2 for something given that can't be used."""
    values = absl_flags.FlagValues()
    flags.define(values)
    for name, meaning in (
        ("checkpoint", "a run's checkpoints or one of them, in place of config.model.source"),
        ("json", "file for the figures"),
    ):
        absl_flags.DEFINE_string(name, None, meaning, flag_values=values)
    try:
        config = flags.parse(values, __doc__ or "")
        if values["checkpoint"].value:
            config.model.source = values["checkpoint"].value
        file = typed(values["json"].value) if values["json"].value else None
        if file:
            _check(file)
        found = measure(config)
        document = json.dumps({"model": config.model.source, **_figures(found)}, indent=2)
        _write(document, file)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return UNUSABLE
    return 0


def measure(config: flags.Config) -> Evaluation:
    """Loads what the config names, without a swarm, and asks the held-out questions."""
    assemble.check_values(config)
    if config.evaluation.questions == 0:
        raise InputError(
            "evaluation.questions",
            got=0,
            expected="1 or more: else nothing is asked",
            remedy="set --config.evaluation.questions",
        )
    assemble.set_up_jax(config)
    plans, dataset = assemble.plans(config), assemble.data(config)
    assemble.check_model(config, assemble.model_config(config))
    source = assemble.model_source(config)
    tokenizer = assemble.tokenizer(source)
    generate = assemble.generate(config, source, lambda text: print(text, file=sys.stderr))
    asked = settings.evaluation(config, max(config.seed, 0))
    with tqdm(total=min(asked.questions, len(dataset.held_out)), unit="question") as bar:

        def advance(done: int, of: int) -> None:  # noqa: ARG001
            bar.update(done - bar.n)

        answers = plans[Stage.ANSWER]
        return evaluate(generate, tokenizer, answers, dataset.held_out, asked, advance)


def _figures(found: Evaluation) -> dict[str, float | None]:
    """JSON knows no NaN: None instead."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in asdict(found).items()
    }


def _check(file: Path) -> None:
    """Whether the figures can be written, before anything is measured. Makes the directory.

    Raises:
      InputError: they can't.
    """
    remedy = "make it writable, or name another file by --json"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(file, error.strerror, remedy) from error
    if os.path.isdir(file):
        raise _unwritable(file, "a directory", remedy)
    if not os.access(file if os.path.exists(file) else file.parent, os.W_OK):
        raise _unwritable(file, "no right to write", remedy)


def _write(document: str, file: Path | None) -> None:
    if file is None:
        print(document)
        return
    try:
        file.write_text(document + "\n")
    except OSError as error:
        print(document)
        remedy = "take the figures from the standard output, where they stand in its place"
        raise _unwritable(file, error.strerror, remedy) from error


def _unwritable(file: Path, got: str | None, remedy: str) -> InputError:
    return InputError(
        f"--json {file}", got=got, expected="a file that can be written", remedy=remedy
    )


if __name__ == "__main__":
    sys.exit(main())
