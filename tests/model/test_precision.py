"""Float32 is multiplied in full where it is asked for, and CPUs notice nothing."""

import re

import jax
import jax.numpy as jnp
import pytest

from configs import tiny
from jaxswarm.errors import InputError
from jaxswarm.model import precision
from jaxswarm.setup import assemble

pytestmark = pytest.mark.usefixtures("no_matmul_precision")


@pytest.mark.parametrize(("dtype", "expected"), [("float32", "highest"), ("bfloat16", None)])
def test_a_run_in_float32_multiplies_all_its_bits(dtype: str, expected: str | None):
    config = tiny.get_config()
    config.output.compilation_cache = ""
    config.model.dtype = dtype
    assemble.set_up_jax(config)
    assert jax.config.jax_default_matmul_precision == expected


def test_a_dtype_that_matmuls_cannot_have_is_refused():
    config = tiny.get_config()
    config.output.compilation_cache = ""
    config.model.dtype = "float16"
    with pytest.raises(InputError, match=r"model\.dtype"):
        assemble.set_up_jax(config)


def test_a_program_for_cpus_is_the_same():
    programs = []
    for dtype in ("bfloat16", "float32"):
        precision.set_for(dtype)
        # A new function each time: JAX would take the program it has.
        program = jax.jit(lambda a, b: jnp.einsum("bi,oi->bo", a, b))
        text = program.lower(jnp.ones((256, 128)), jnp.ones((512, 128))).compile().as_text() or ""
        instructions = [line for line in text.splitlines() if " = " in line]
        programs.append(re.sub(r", metadata=\{[^}]*\}", "", "\n".join(instructions)))
    said = ", operand_precision={highest,highest}"
    default, full = programs
    assert said in full
    assert full.replace(said, "") == default
