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
from jaxswarm.model.sharding import gathered, place_questions, sharding, ways_along


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
        budget_QxG: np.ndarray | None = None,
    ) -> Rollout[np.ndarray]:
        """`budget_QxG`: where not every row of the group may have `limit` tokens."""
        ...


class Generator:
    """The program that draws completions. It holds no parameters: a learner's are ever new ones.

    It compiles once per bucket of prompt length.
    """

    def __init__(self, graph: nnx.GraphDef, mesh: Mesh, dtype: str):
        """`dtype`: that of the pass, whatever the parameters have."""
        self._mesh = mesh
        self.program = jax.jit(
            partial(_generate, graph, dtype),
            static_argnames=("limit", "sampling", "stop_tokens"),
            out_shardings=sharding((), (), mesh),
        )

    def __call__(
        self,
        params: nnx.State,
        prompt_QxP: np.ndarray,
        length_Q: np.ndarray,
        *,
        seed: int,
        group: int,
        limit: int,
        budget_QxG: np.ndarray | None = None,
        **static: Any,
    ) -> Rollout[np.ndarray]:
        """See `Generate`. `params`: placed by `param_shardings` on the mesh."""
        if budget_QxG is None:
            budget_QxG = np.full((len(prompt_QxP), group), limit, np.int32)
        with jax.set_mesh(self._mesh):
            rollout = self.program(
                params,
                place_questions(prompt_QxP, self._mesh),
                place_questions(length_Q, self._mesh),
                place_questions(budget_QxG, self._mesh),
                jax.random.key(seed),
                limit=limit,
                **static,
            )
            return jax.device_get(rollout)


def _generate(
    graph: nnx.GraphDef,
    dtype: str,
    params: nnx.State,
    prompt_QxP: jax.Array,
    length_Q: jax.Array,
    budget_QxG: jax.Array,
    key: jax.Array,
    **static: Any,
) -> Rollout[jax.Array]:
    model = nnx.merge(graph, gathered(qwen2.cast(params, dtype)))
    # On GPUs XLA would join them itself, and copy the weights for each token: see `Joined`.
    if dtype != "float32" and ways_along("heads", model.config.num_heads) == 1:
        model.join()
    return generate(model, prompt_QxP, length_Q, budget_QxG, key, **static)
