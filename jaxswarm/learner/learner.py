"""The learner of one node: its state on the mesh, and the programs that read and change it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from jaxswarm.learner import optimizer as optimizers
from jaxswarm.learner.generate import Rollout
from jaxswarm.learner.generator import Generator
from jaxswarm.learner.optimizer import OptimizerConfig
from jaxswarm.learner.sampling import Sampling
from jaxswarm.learner.train_step import Batch, GRPOConfig, StepMetrics, TrainState, train_step
from jaxswarm.model import qwen2
from jaxswarm.model.sharding import param_shardings, place_questions, sharding


class Learner:
    """Parameters, optimizer state and reference on a mesh. Arrays in, arrays out.

    Its two programs, `_generate` and `_step`, are all that runs on the devices in a round. Each
    compiles once per bucket of prompt length, and of rows where completions are packed.
    """

    def __init__(
        self,
        graph: nnx.GraphDef,
        params: nnx.State,
        mesh: Mesh,
        grpo: GRPOConfig,
        optimizer: OptimizerConfig,
    ):
        """Takes over `params`: float32, placed by `param_shardings` on `mesh`."""
        self._mesh = mesh
        self._grpo = grpo
        self._schedule = optimizers.learning_rate(optimizer)
        transformation = optimizers.make_optimizer(optimizer)
        self._shardings = state_shardings(params, transformation, mesh)
        replicated = sharding((), (), mesh)

        self.state = TrainState(
            params,
            jax.jit(transformation.init, out_shardings=self._shardings.opt_state)(params),
            jax.device_put(jnp.int32(0), replicated),
        )
        self._reference = None
        if grpo.beta > 0:
            # A copy even where the dtype is the same: the step donates the parameters.
            self._reference = jax.jit(
                lambda params: jax.tree.map(jnp.copy, qwen2.cast(params, grpo.dtype)),
                out_shardings=self._shardings.params,
            )(params)
        self._generate = Generator(graph, mesh, grpo.dtype)
        self._step = jax.jit(
            partial(train_step, graph, transformation, grpo),
            donate_argnums=0,
            out_shardings=(self._shardings, replicated),
        )

    def generate(
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
        """`jaxswarm.learner.generate.generate` with the present parameters; arrays on the host."""
        return self._generate(
            self.state.params,
            prompt_QxP,
            length_Q,
            seed=seed,
            group=group,
            limit=limit,
            sampling=sampling,
            stop_tokens=stop_tokens,
            budget_QxG=budget_QxG,
        )

    def step(self, batch: Batch[np.ndarray]) -> StepMetrics:
        """Learns from one batch of host arrays; the metrics are on the host."""
        with jax.set_mesh(self._mesh):
            placed = jax.tree.map(partial(place_questions, mesh=self._mesh), batch)
            self.state, metrics = self._step(self.state, self._reference, placed)
            return jax.device_get(metrics)

    @property
    def has_reference(self) -> bool:
        """Whether a fixed reference is held, so that there is a KL to it."""
        return self._reference is not None

    @property
    def learning_rate(self) -> float:
        """That of the next update."""
        return float(np.asarray(self._schedule(self.state.step)))

    def restore(
        self, load: Callable[[TrainState], tuple[TrainState, dict[str, Any]]]
    ) -> dict[str, Any]:
        """Takes over the state that `load` reads, and returns the notes that came with it.

        `load` is given the shapes, dtypes and shardings to read into. The present state is let go
        first: two of them may not fit the devices.
        """
        abstract = self.abstract_state()
        self.state = abstract
        self.state, notes = load(abstract)
        return notes

    def abstract_state(self) -> TrainState:
        """Shapes, dtypes and shardings of the state: what a checkpoint is restored into."""
        return jax.tree.map(
            lambda array, place: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=place),
            self.state,
            self._shardings,
        )


def state_shardings(
    params: nnx.State, transformation: optax.GradientTransformation, mesh: Mesh
) -> Any:
    """A TrainState of shardings. Moments lie as their parameters do; counters on every device."""
    replicated = sharding((), (), mesh)
    of_params = param_shardings(params, mesh)
    of_optimizer = optax.tree_map_params(
        transformation,
        lambda _, place: place,
        jax.eval_shape(transformation.init, params),
        of_params,
        transform_non_params=lambda _: replicated,
    )
    return TrainState(of_params, of_optimizer, replicated)  # pyright: ignore[reportArgumentType]
