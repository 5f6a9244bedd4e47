"""Where the arrays of a batch are: on the host (`np.ndarray`) or on the devices (`jax.Array`)."""

from typing import TypeVar

import jax
import numpy as np

A = TypeVar("A", jax.Array, np.ndarray)
"""Of a `Rollout`, a `Packing` or a `Batch`, which has all its arrays in one place."""
