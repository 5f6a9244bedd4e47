"""Generation on a mesh: host arrays to completions on the host, by whoever holds the parameters."""

from functools import partial
from typing import Any, Protocol

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from jaxswarm.learner.generate import Rollout, generate
from jaxswarm.learner.sampling import Sampling
from jaxswarm.model import qwen2
from jaxswarm.model.sharding import place_questions, sharding


class Generate(Protocol):
    """`jaxswarm.learner.generate.generate` with somebody's parameters; arrays on the host."""

    def __call__(
        self,
        prompt_QxP: np.ndarray,
        length_Q: np.ndarray,
        *,
        seed: int,
        group: int,
        limit: int,
        sampling: Sampling,
        stop_tokens: tuple[int, ...],
    ) -> Rollout: ...


class Generator:
    """The program that draws completions. It holds no parameters: a learner's are ever new ones.

    It compiles once per bucket of prompt length.
    """

    def __init__(self, graph: nnx.GraphDef, mesh: Mesh, dtype: str):
        """`dtype`: that of the pass, whatever the parameters have."""
        self._mesh = mesh
        self._program = jax.jit(
            partial(_generate, graph, dtype),
            static_argnames=("group", "limit", "sampling", "stop_tokens"),
            out_shardings=sharding((), (), mesh),
        )

    def __call__(
        self,
        params: nnx.State,
        prompt_QxP: np.ndarray,
        length_Q: np.ndarray,
        *,
        seed: int,
        **static: Any,
    ) -> Rollout:
        """See `Generate`. `params`: placed by `param_shardings` on the mesh."""
        with jax.set_mesh(self._mesh):
            rollout = self._program(
                params,
                place_questions(prompt_QxP, self._mesh),
                place_questions(length_Q, self._mesh),
                jax.random.key(seed),
                **static,
            )
            return jax.device_get(rollout)


def _generate(
    graph: nnx.GraphDef,
    dtype: str,
    params: nnx.State,
    prompt_QxP: jax.Array,
    length_Q: jax.Array,
    key: jax.Array,
    **static: Any,
) -> Rollout:
    return generate(
        nnx.merge(graph, qwen2.cast(params, dtype)), prompt_QxP, length_Q, key, **static
    )
