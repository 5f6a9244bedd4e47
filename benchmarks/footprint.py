"""What `--work gpu` needs of a device that is not here, as XLA compiles for it.

    python -m benchmarks.footprint --target h100        # with jax[cuda12] installed
    python -m benchmarks.footprint --target v5e:2x2     # with jax[tpu]

Nothing runs: it tells whether the programs compile, what they hold at their peak, how long the
compiler takes, and what the devices exchange for each token. On several devices weights lie in
pieces over fsdp, as by default. Figures go to results/footprint-TARGET.json.

For GPUs matmuls are cuBLAS's: XLA chooses its own kernels by timing them on the device.
"""

import argparse
import json
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.experimental import topologies
from jax.sharding import Mesh

from benchmarks import facts
from benchmarks.sides.ours import grpo, optimizer
from benchmarks.work import Work
from benchmarks.works import works
from jaxswarm.learner.generator import Generator
from jaxswarm.learner.learner import state_shardings
from jaxswarm.learner.optimizer import make_optimizer
from jaxswarm.learner.sampling import Sampling
from jaxswarm.learner.train_step import Batch, TrainState, train_step
from jaxswarm.model import qwen2
from jaxswarm.model.config import ModelConfig
from jaxswarm.model.sharding import make_mesh, param_shardings, sharding

H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 minor: 0 }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  device_memory_size: 84929347584
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  shared_memory_per_core: 233472
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
runtime_version { major: 12 minor: 9 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
"""An NVIDIA H100 SXM in XLA's words (`GpuTargetConfigProto`), by the maker's data sheet."""


def main() -> None:
    """Compiles each program, prints a line for each and writes the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", required=True, help="h100, or a TPU topology as v5e:2x2")
    target = parser.parse_args().target
    # The plugin would look for the driver's library, which only a machine with a GPU has.
    os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"
    options = {"xla_gpu_enable_triton_gemm": False} if target == "h100" else {}
    try:
        devices = _devices(target)
    except (NotImplementedError, RuntimeError) as error:  # JAX's words for a platform it lacks
        parser.error(
            f"--target: got {target} ({error}); expected h100 or a TPU topology as v5e:2x2, and "
            "the compiler for it; pip install 'jax[cuda12]' or 'jax[tpu]'"
        )
    mesh = make_mesh(data=1, fsdp=-1, tensor=1, devices=devices)
    figures: dict[str, Any] = {"target": f"{mesh.size} x {mesh.devices.flat[0].device_kind}"}
    with tempfile.TemporaryDirectory(prefix="footprint-") as directory:
        made = works(
            "gpu",
            Path(directory),
            on_accelerator=True,
            train=True,
            recompute=False,
            repeats=1,
            model="",
            data="",
        )
        for work in made:
            for name, lower in (("generate", _generate), ("step", _step)):
                lowered = lower(work, mesh)
                began = time.perf_counter()
                compiled = lowered.compile(options)
                figures[f"{work.name} {name}"] = found = _read(compiled) | {
                    "compile_s": round(time.perf_counter() - began, 1)
                }
                print(work.name, name, json.dumps(found))
    print(facts.write(f"footprint-{target.replace(':', '-')}", figures))


def _devices(target: str) -> Any:
    if target == "h100":
        config = {"target_config": H100, "topology": "1x1x1"}
        return topologies.get_topology_desc(platform="cuda", **config).devices
    return topologies.get_topology_desc(target, "tpu").devices


def _read(compiled: jax.stages.Compiled) -> dict[str, float]:
    """Gigabytes of one device, and how often its loops have pieces of weights sent."""
    memory: Any = compiled.memory_analysis()
    lines = (compiled.as_text() or "").splitlines()
    return {
        "given_gb": round(memory.argument_size_in_bytes / 1e9, 2),
        "peak_gb": round(memory.peak_memory_in_bytes / 1e9, 2),
        "gathers_in_loops": sum(" all-gather" in it and "/while/body" in it for it in lines),
    }


def _model(work: Work, mesh: Mesh) -> tuple[nnx.GraphDef, Any]:
    values = json.loads((Path(work.model) / "config.json").read_text())
    graph, params = qwen2.abstract(ModelConfig.from_hf(values, source=work.model))
    return graph, _placed(params, param_shardings(params, mesh))


def _placed(arrays: Any, places: Any) -> Any:
    return jax.tree.map(
        lambda array, place: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=place),
        arrays,
        places,
    )


def _questions(mesh: Mesh, dtype: Any, *shape: int) -> Any:
    axes = ("question", *[None] * (len(shape) - 1))
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding(shape, axes, mesh))


def _generate(work: Work, mesh: Mesh) -> Any:
    graph, params = _model(work, mesh)
    Q, G, P = len(work.prompts), work.group, len(work.prompts[0])
    ints = partial(_questions, mesh, jnp.int32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    with jax.set_mesh(mesh):
        return Generator(graph, mesh, work.dtype).program.lower(
            params,
            ints(Q, P),
            ints(Q),
            ints(Q, G),
            _placed(key, sharding((), (), mesh)),
            limit=work.limit,
            sampling=Sampling(),
            stop_tokens=(),
        )


def _step(work: Work, mesh: Mesh) -> Any:
    graph, params = _model(work, mesh)
    Q, G, P, C = len(work.prompts), work.group, len(work.prompts[0]), work.limit
    ints, floats = (partial(_questions, mesh, dtype) for dtype in (jnp.int32, jnp.float32))
    transformation = make_optimizer(optimizer(work))
    step: Any = jax.ShapeDtypeStruct((), jnp.int32)
    state = TrainState(params, jax.eval_shape(transformation.init, params), step)
    places = state_shardings(params, transformation, mesh)
    reference = jax.tree.map(lambda array: array.update(dtype=work.dtype), params)
    batch = Batch(
        prompt_QxP=ints(Q, P),
        prompt_length_Q=ints(Q),
        token_QxGxC=ints(Q, G, C),
        length_QxG=ints(Q, G),
        logprob_QxGxC=floats(Q, G, C),
        reward_QxG=floats(Q, G),
        external_QxG=_questions(mesh, jnp.bool_, Q, G),
    )
    program = jax.jit(
        partial(train_step, graph, transformation, grpo(work)),
        donate_argnums=0,
        out_shardings=(places, sharding((), (), mesh)),
    )
    with jax.set_mesh(mesh):
        return program.lower(_placed(state, places), reference, batch)


if __name__ == "__main__":
    main()
