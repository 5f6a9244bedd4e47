"""Starts for the positive control: three models, each good at one kind of problem and poor at the
others.

The config's model is trained on demonstrations a little longer, of which those of a specialist's
own kind are mostly right and all others mostly wrong. It works with the embedded model alone, whose
demonstrations are known.
"""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxswarm.tokenizer import Tokenizer
from tools.embedded import supervised
from tools.embedded.problems import Problem

KINDS = ("more and fewer", "times", "shares")
"""By the hardest operation of a problem: + and - alone; * among them; / among them."""

MISTAKEN_OWN = 0.1
MISTAKEN_OTHERS = 0.97
"""Shares of wrong workings in a specialist's demonstrations."""

STEPS = 60


def kind_of(problem: Problem) -> str:
    """One of `KINDS`."""
    operations = {step.operation for step in problem.steps}
    return "shares" if "/" in operations else "times" if "*" in operations else "more and fewer"


def mistaken_of(kind: str) -> Callable[[Problem], float]:
    """The share of wrong workings that a specialist in `kind` is shown."""
    return lambda problem: MISTAKEN_OWN if kind_of(problem) == kind else MISTAKEN_OTHERS


def train(graph: nnx.GraphDef, params: nnx.State, model: Path, kind: str) -> Any:
    """Parameters of a specialist; `params` stay as they are."""
    steps = supervised.batches(Tokenizer(model), KINDS.index(kind) + 1, mistaken_of(kind))
    training = supervised.further(graph, jax.tree.map(jnp.copy, params), steps)
    trained, _ = next(islice(training, STEPS - 1, None))
    return trained
