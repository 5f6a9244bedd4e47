"""Memory that was freed goes back to the system after each program is compiled."""

import jax
import jax.numpy as jnp

from jaxswarm.host import memory
from jaxswarm.learner import compiling


def test_memory_is_handed_back_once_a_program_and_not_when_it_runs_again(monkeypatch):
    calls: list[None] = []
    monkeypatch.setattr(memory, "give_back", lambda: calls.append(None))
    program, x = jax.jit(lambda x: x * 3 + 1), jnp.ones(7)
    compiling.hand_memory_back()
    try:
        program(x)
        program(x)
        assert len(calls) == 1
        program(x[:5])
        assert len(calls) > 1
    finally:
        jax.monitoring.unregister_event_duration_listener(compiling._after)
