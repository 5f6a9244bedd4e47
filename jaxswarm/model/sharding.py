"""The device mesh, and the one table from logical to mesh axes. No PartitionSpec stands elsewhere.

Parameters and activations name their axes by what they are ("vocab", "heads", "question"); this
module says where each lies:

  data    copies of the model, each on its own questions
  fsdp    questions are split here as well, and weights lie in pieces, gathered layer by layer
  tensor  heads, feed-forward width and vocabulary are split inside each layer
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from jaxswarm.errors import InputError
from jaxswarm.model.config import ModelConfig

MESH_AXES = ("data", "fsdp", "tensor")

MESH_AXES_OF: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "vocab": ("tensor",),
        "embed": ("fsdp",),
        "heads": ("tensor",),
        "kv_heads": ("tensor",),
        "ffn": ("tensor",),
        "norm": (),
        "question": ("data", "fsdp"),
    }
)


def all_devices() -> list[Any]:
    """Those that JAX computes on.

    Raises:
      InputError: it can have none.
    """
    try:
        return jax.devices()
    except RuntimeError as error:  # whatever a plug-in for accelerators says
        raise InputError(
            "JAX's devices",
            got=" ".join(str(error).split()),
            expected="devices that can be used",
            remedy="see the driver, CUDA_VISIBLE_DEVICES and JAX_PLATFORMS; with JAX_PLATFORMS=cpu "
            "it goes without an accelerator",
        ) from error


def make_mesh(*, data: int, fsdp: int, tensor: int, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh over all devices (or those given). One size may be -1: whatever is left.

    Raises:
      InputError: the sizes do not multiply to the number of devices.
    """
    devices = all_devices() if devices is None else devices
    sizes = [data, fsdp, tensor]
    known = math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) == 1 and known > 0 and len(devices) % known == 0:
        sizes[sizes.index(-1)] = len(devices) // known
    if min(sizes) < 1 or math.prod(sizes) != len(devices):
        raise InputError(
            "mesh (data, fsdp, tensor)",
            got=(data, fsdp, tensor),
            expected=f"sizes whose product is the number of devices, {len(devices)}; one may be -1",
            remedy="set --config.mesh.data, --config.mesh.fsdp and --config.mesh.tensor",
        )
    return jax.make_mesh(
        tuple(sizes), MESH_AXES, axis_types=(AxisType.Auto,) * 3, devices=list(devices)
    )


def check_divides(config: ModelConfig, mesh: Mesh, batches: Mapping[str, int]) -> None:
    """Says before any weight is loaded that the mesh fits the model and the batches.

    Key-value heads may be fewer than the tensor axis (Qwen2.5-1.5B has 2): they then lie split
    inside a head and XLA gathers them where they are attended, so they are not asked about here.

    Args:
      config: the model's.
      mesh: the devices.
      batches: how many questions are in each kind of batch, by its name.

    Raises:
      InputError: a size that the mesh does not divide.
    """
    rows = mesh.shape["data"] * mesh.shape["fsdp"]
    for what, size, axis, ways in (
        ("query heads of the model", config.num_heads, "tensor", mesh.shape["tensor"]),
        (
            "feed-forward width of the model",
            config.intermediate_size,
            "tensor",
            mesh.shape["tensor"],
        ),
        ("vocabulary of the model", config.vocab_size, "tensor", mesh.shape["tensor"]),
        ("hidden size of the model", config.hidden_size, "fsdp", mesh.shape["fsdp"]),
        *((name, size, "data x fsdp", rows) for name, size in batches.items()),
    ):
        if size % ways:
            raise InputError(
                what,
                got=size,
                expected=f"a multiple of the mesh's {axis} size, {ways}",
                remedy="choose other mesh sizes with --config.mesh.*",
            )


def spec(
    shape: Sequence[int], axes: Sequence[str | None], mesh: Mesh | AbstractMesh
) -> PartitionSpec:
    """Where an array with these logical axes lies.

    An axis whose size the mesh does not divide is repeated on each device, not split:
    `check_divides` has refused those that should never be.
    """
    assert len(shape) == len(axes), (shape, axes)
    entries: list[tuple[str, ...] | None] = []
    used: set[str] = set()
    for size, axis in zip(shape, axes, strict=True):
        physical = () if axis is None else MESH_AXES_OF[axis]
        assert not used & set(physical), f"{axes} name the same mesh axis twice"
        used |= set(physical)
        ways = math.prod(mesh.shape[name] for name in physical)
        entries.append(physical if physical and size % ways == 0 else None)
    return PartitionSpec(*entries)


def sharding(shape: Sequence[int], axes: Sequence[str | None], mesh: Mesh) -> NamedSharding:
    """`spec` on that mesh."""
    return NamedSharding(mesh, spec(shape, axes, mesh))


def ways_along(axis: str, size: int, mesh: Mesh | AbstractMesh | None = None) -> int:
    """Into how many parts this logical axis, of that size, is cut; 1: each device has it whole.

    `mesh`: by default the one that is set, if any.
    """
    mesh = jax.sharding.get_abstract_mesh() if mesh is None else mesh
    ways = 1 if mesh.empty else math.prod(mesh.shape[name] for name in MESH_AXES_OF[axis])
    return ways if size % ways == 0 else 1


def split_questions(array: jax.Array, pieces: int) -> jax.Array:
    """[Q, ...] as [pieces, Q / pieces, ...].

    Piece i takes every n-th question: neighbours lie on one device, and each piece should use all.
    """
    split = array.reshape(-1, pieces, *array.shape[1:]).swapaxes(0, 1)
    return constrain(split, None, "question", *[None] * (array.ndim - 1))


def join_questions(split: jax.Array) -> jax.Array:
    """[Q, ...] again of what `split_questions` gave."""
    array = split.swapaxes(0, 1).reshape(-1, *split.shape[2:])
    return constrain(array, "question", *[None] * (array.ndim - 1))


def place_questions(array: np.ndarray | jax.Array, mesh: Mesh) -> jax.Array:
    """Puts an array on the mesh, its leading axis being the questions."""
    axes = ("question", *[None] * (array.ndim - 1))
    return jax.device_put(array, sharding(array.shape, axes, mesh))


def param_shardings(abstract_params: nnx.State, mesh: Mesh) -> nnx.State:
    """The sharding of each parameter of `nnx.split`'s state, by the `axes` it was made with."""

    def of(param: nnx.Variable) -> nnx.Variable:
        return param.replace(sharding(param.get_value().shape, param.axes, mesh))

    return jax.tree.map(of, abstract_params, is_leaf=lambda node: isinstance(node, nnx.Variable))


def gathered(params: nnx.State) -> nnx.State:
    """The parameters with their pieces over fsdp put together, for a loop of many passes.

    Left in pieces they would be gathered again in each pass.
    """

    def of(param: nnx.Variable) -> nnx.Variable:
        axes = [None if "fsdp" in MESH_AXES_OF[axis] else axis for axis in param.axes]
        return param.replace(constrain(param.get_value(), *axes))

    return jax.tree.map(of, params, is_leaf=lambda node: isinstance(node, nnx.Variable))


def constrain(array: jax.Array, *axes: str | None) -> jax.Array:
    """Pins an activation to its logical axes; does nothing where no mesh is set."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return array
    return jax.lax.with_sharding_constraint(array, spec(array.shape, axes, mesh))
