"""A trace of a real learner: every part of the work is found, and they add up."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxswarm.learner import profile
from jaxswarm.learner.sampling import Sampling
from tests.learner import tiny
from tests.learner.test_learner import learner, roll


def test_the_parts_of_a_step_are_found_and_add_up_to_the_wall_time():
    made, batch = learner(1, 1, 1, beta=0.1, remat=True), tiny.batch(tiny.model())
    roll(made, Sampling())
    made.step(batch)
    began = time.perf_counter()
    with profile.profiled() as found:
        roll(made, Sampling())
        made.step(batch)
    wall_s = time.perf_counter() - began
    device = {part for part, seconds in found.seconds.items() if seconds > 0}
    assert device >= {
        profile.PROMPT,
        profile.DECODE,
        profile.SAMPLE,
        profile.REFERENCE,
        profile.LOGPROBS,
        profile.BACKWARD,
        profile.OPTIMIZER,
        profile.HOST,
    }
    assert sum(found.seconds.values()) <= wall_s
    assert found.seconds.get(profile.OTHERS, 0) < 0.2 * sum(found.seconds.values())
    assert "decode" in str(found)


def test_time_on_the_host_is_the_host_s():
    made = learner(1, 1, 1)
    roll(made, Sampling())
    with profile.profiled() as found:
        roll(made, Sampling())
        time.sleep(0.5)
    assert found.seconds[profile.HOST] > 0.5


def test_operations_that_xla_does_not_name_belong_to_the_part_they_run_in():
    @jax.jit
    def one_row(weight_OxI, x_IxB):
        with jax.named_scope(profile.DECODE):
            return jnp.tanh(weight_OxI @ jnp.tanh(x_IxB))

    weight_OxI, x_IxB = jnp.ones((4096, 4096)), jnp.ones((4096, 1))
    compiled = one_row.lower(weight_OxI, x_IxB).compile().as_text()
    (matmul,) = (line for line in compiled.splitlines() if " dot(" in line)
    assert "op_name" not in matmul
    jax.block_until_ready(one_row(weight_OxI, x_IxB))
    with profile.profiled() as found:
        jax.block_until_ready(one_row(weight_OxI, x_IxB))
    assert found.seconds[profile.DECODE] > 10 * found.seconds.get(profile.OTHERS, 0.0)


@pytest.mark.parametrize(
    ("scopes", "part"),
    [
        ("jit(_generate)/while/body/decode/dot_general", profile.DECODE),
        ("jit(_generate)/prompt/transpose", profile.PROMPT),
        ("jit(train_step)/jvp(logprobs)/custom_vjp_call/dot_general", profile.LOGPROBS),
        ("jit(train_step)/transpose(jvp(logprobs))/custom_vjp_call/dot_general", profile.BACKWARD),
        ("jit(train_step)/optimizer/transpose", profile.OPTIMIZER),
        ("jit(train_step)/broadcast_in_dim", profile.OTHERS),
    ],
)
def test_an_operation_belongs_to_the_scope_it_was_traced_in(scopes, part):
    assert profile.part_of(scopes) == part


def test_where_a_trace_is_being_taken_already_the_work_is_done_without_one():
    made = learner(1, 1, 1)
    with profile.profiled() as outer:
        roll(made, Sampling())
        with profile.profiled() as inner:
            rollout = roll(made, Sampling())
    assert rollout.length_QxG.any()
    assert not inner.seconds
    assert "one profile" in str(inner).lower()
    assert outer.seconds


def test_a_trace_without_our_operations_is_none_and_not_the_host_s_time(monkeypatch):
    monkeypatch.setattr(profile, "_operations", lambda _: iter(()))
    with profile.profiled() as found:
        roll(learner(1, 1, 1), Sampling())
    assert found.seconds == {}
    assert "no operation" in found.missing


def breaks(*_: object) -> None:
    raise OSError("no space left")


@pytest.mark.parametrize("broken", ["stop_trace", "from_file"])
def test_a_trace_that_can_t_be_had_ends_nothing_and_says_why(monkeypatch, broken):
    stop = jax.profiler.stop_trace

    def stop_and_break() -> None:
        stop()
        breaks()

    if broken == "stop_trace":
        monkeypatch.setattr(jax.profiler, "stop_trace", stop_and_break)
    else:
        monkeypatch.setattr(profile.ProfileData, "from_file", breaks)
    with profile.profiled() as found:
        done = roll(learner(1, 1, 1), Sampling())
    assert done.length_QxG.any()
    assert found.seconds == {}
    assert str(found) == "not known (OSError: no space left)"


def test_what_fails_inside_is_raised_as_it_is():
    with pytest.raises(ZeroDivisionError), profile.profiled():
        np.testing.assert_equal(1, 1 // 0)


def test_a_matmul_that_returns_before_it_is_done_is_the_device_s_time():
    @jax.jit
    def weight_gradient(x_TxI, grad_TxO):
        with jax.named_scope(profile.LOGPROBS):
            return jnp.tanh(jnp.einsum("to,ti->oi", jnp.sin(grad_TxO), jnp.sin(x_TxI)))

    x_TxI, grad_TxO = jnp.ones((2048, 1024)), jnp.ones((2048, 2048))
    jax.block_until_ready(weight_gradient(x_TxI, grad_TxO))
    shares = []
    for _ in range(5):
        with profile.profiled() as found:
            jax.block_until_ready(weight_gradient(x_TxI, grad_TxO))
        shares.append(found.seconds[profile.LOGPROBS] / sum(found.seconds.values()))
    # What else runs on the machine keeps the host waiting: that can only lower a share.
    assert max(shares) > 0.8, shares
