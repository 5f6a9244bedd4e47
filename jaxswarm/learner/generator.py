"""Generation on a mesh: host arrays to completions on the host, by whoever holds the parameters."""

from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
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
            compiler_options=_decoding_options(mesh),
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


def _decoding_options(mesh: Mesh) -> dict[str, str]:
    """XLA's options for programs whose matmuls have few rows.

    On CPUs XLA hands matmuls to YNNPACK, which streams weights [in, out] past 8 rows at 0.7 of the
    rate of Eigen, its other library. A JAX whose XLA has no such option goes without.
    """
    options = {"xla_cpu_experimental_ynn_fusion_type": ""}
    if mesh.devices.flat[0].platform != "cpu":
        return {}
    try:
        jax.jit(jnp.negative, compiler_options=options).lower(jnp.float32(0)).compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return options
