"""What the second pass of a layer costs devices that share its questions."""

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxswarm.model.remat import rematerialised
from jaxswarm.model.sharding import make_mesh


def test_no_device_waits_for_another_to_begin_a_second_pass():
    mesh = make_mesh(data=1, fsdp=8, tensor=1)

    def backward(x_QxT: jax.Array, gradient_QxT: jax.Array) -> jax.Array:
        _, pull = jax.vjp(lambda x: rematerialised(jnp.sin, x), x_QxT)
        return pull(gradient_QxT)[0]

    share = NamedSharding(mesh, P("fsdp"))
    program = jax.jit(backward, in_shardings=share, out_shardings=share)
    ones = jnp.ones((8, 4))
    text = program.lower(ones, ones).compile().as_text()
    assert "all-" not in text
    assert "collective-" not in text
    assert jnp.allclose(program(ones, ones), jnp.cos(1.0))
