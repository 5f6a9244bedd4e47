"""In how many bits matmuls of float32 multiply."""

import jax


def set_for(dtype: str) -> None:
    """Matmuls in "float32" take all its bits from now on: by default GPUs and TPUs drop most.

    On CPUs programs stay what they are.

    Args:
      dtype: that of the matmuls, "bfloat16" or "float32".
    """
    if dtype == "float32":
        jax.config.update("jax_default_matmul_precision", "highest")
