"""The GRPO step against a plain one: no shared prompt, no cache, no chunks, no micro-batches."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxswarm.errors import InputError
from jaxswarm.learner import grpo
from jaxswarm.learner.micro_batches import check_micro_batches, pieces
from jaxswarm.learner.optimizer import OptimizerConfig, make_optimizer
from jaxswarm.learner.packing import pack
from jaxswarm.learner.train_step import TrainState, train_step
from tests.learner import tiny


@pytest.fixture(scope="module")
def split():
    return nnx.split(tiny.model())


@pytest.fixture(scope="module")
def batch():
    return tiny.batch(tiny.model())


def step(split, batch, config, *, optimizer=None, reference=None):
    """One step by gradient descent of rate 1: the change of the parameters is the gradient."""
    graph, params = split
    optimizer = optax.sgd(1.0) if optimizer is None else optimizer
    state = TrainState(params, optimizer.init(params), jnp.int32(0))
    program = jax.jit(
        lambda state, reference, batch: train_step(
            graph, optimizer, config, state, reference, batch
        )
    )
    return program(state, reference, batch)


@pytest.fixture(scope="module")
def reference(split):
    return jax.tree.map(lambda w: w * 0.9, split[1])


@pytest.fixture(scope="module")
def whole_step(split, batch, reference):
    """One step with a reference, and nothing that saves memory."""
    return step(split, batch, tiny.grpo(beta=0.1), reference=reference)


def plain_loss(params, graph, batch, config, reference):
    """The objective over plain forward passes; and its terms' sum without their signs."""

    def logprob_of(weights):
        return tiny.chosen(
            tiny.plain_logprobs(nnx.merge(graph, weights), batch.token_QxGxC), batch.token_QxGxC
        )

    token = grpo.token_loss(
        logprob_of(params),
        batch.logprob_QxGxC,
        None if reference is None else logprob_of(reference),
        grpo.advantages(jnp.asarray(batch.reward_QxG), config.advantage_scale),
        jnp.asarray(batch.external_QxG),
        eps_low=config.eps_low,
        eps_high=config.eps_high,
        beta=config.beta,
    )
    weight = grpo.token_weights(jnp.asarray(batch.length_QxG), 10, config.limit, config.loss)
    return jnp.sum(weight * token.loss), jnp.sum(weight * jnp.abs(token.loss))


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "dapo", "beta": 0.3},
        {"loss": "grpo", "advantage_scale": "group"},
        {"loss": "dr_grpo", "advantage_scale": "batch"},
    ],
)
def test_loss_and_gradient_are_those_of_the_plain_objective(split, batch, settings):
    graph, params = split
    config = tiny.grpo(**settings)
    reference = None
    if config.beta:
        reference = jax.tree.map(lambda w: w * 0.9, params)
    plain = jax.jit(
        jax.value_and_grad(lambda p: plain_loss(p, graph, batch, config, reference), has_aux=True)
    )
    (expected, unsigned), gradient = plain(params)
    state, metrics = step(split, batch, config, reference=reference)
    # Advantages of a group add up to 0, so that the sum may be far smaller than its terms.
    np.testing.assert_allclose(metrics.loss, expected, rtol=0, atol=1e-6 * unsigned)
    moved = jax.tree.map(lambda before, after: before - after, params, state.params)
    scale = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(gradient))
    assert scale > 1e-3
    chex.assert_trees_all_close(moved, gradient, atol=1e-5 * max(scale, 1.0), rtol=1e-3)
    np.testing.assert_allclose(metrics.grad_norm, optax.global_norm(gradient), rtol=1e-4)
    assert 0 < metrics.clip_fraction < 1, "old log-probs are off, so some tokens clip"


@pytest.mark.parametrize(
    "change",
    [
        {"micro_batches": 2},
        {"micro_batches": 4},
        {"micro_batches": 8},
        {"remat": True},
        {"vocab_slice": 7},
    ],
)
def test_memory_savers_change_nothing(split, batch, reference, whole_step, change):
    whole, metrics = whole_step
    saved, same = step(split, batch, tiny.grpo(beta=0.1, **change), reference=reference)
    chex.assert_trees_all_close(saved.params, whole.params, atol=2e-6, rtol=1e-5)
    chex.assert_trees_all_close(same, metrics, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("bucket", "shape", "micro_batches", "remat"),
    [
        (3, (4, 3, 10), 1, True),
        (3, (4, 3, 10), 4, False),
        (2.9, (4, 2, 15), 1, False),
        (2.9, (4, 2, 15), 4, True),
    ],
)
def test_packed_completions_give_the_same_update(
    split, batch, reference, whole_step, bucket, shape, micro_batches, remat
):
    config = tiny.grpo(beta=0.1, micro_batches=micro_batches, remat=remat)
    whole, metrics = whole_step
    packing = pack(batch.length_QxG, 10, (2, bucket))
    assert packing is not None
    assert packing.source_QxRxS.shape == shape
    packed, same = step(split, batch._replace(packing=packing), config, reference=reference)
    chex.assert_trees_all_close(packed.params, whole.params, atol=2e-6, rtol=1e-5)
    chex.assert_trees_all_close(same, metrics, rtol=1e-4, atol=1e-6)


def test_a_batch_of_uniform_groups_changes_nothing(split, batch):
    uniform = batch._replace(reward_QxG=np.repeat(batch.reward_QxG[:, :1], 4, axis=1))
    state, metrics = step(split, uniform, tiny.grpo(advantage_scale="group"))
    assert metrics.grad_norm == 0
    chex.assert_trees_all_equal(state.params, split[1])


@pytest.mark.parametrize("micro_batches", [2, 4])
def test_a_piece_of_groups_without_variance_is_not_computed_and_changes_nothing(
    split, batch, micro_batches
):
    rewards = batch.reward_QxG.copy()
    rewards[[0, 2]] = 1.0
    batch, config = batch._replace(reward_QxG=rewards), tiny.grpo(loss="grpo")
    whole, metrics = step(split, batch, config)
    config = tiny.grpo(loss="grpo", micro_batches=micro_batches)
    pieces, same = step(split, batch, config)
    chex.assert_trees_all_close(pieces.params, whole.params, atol=2e-6, rtol=1e-5)
    chex.assert_trees_all_close(same, metrics, rtol=1e-4, atol=1e-6)

    # 0 x infinity: what is computed of them is no number.
    logprob = batch.logprob_QxGxC.copy()
    logprob[[0, 2]] = -np.inf
    poisoned, _ = step(split, batch._replace(logprob_QxGxC=logprob), config)
    chex.assert_trees_all_equal(poisoned.params, pieces.params)


@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_a_piece_that_only_fills_up_is_not_computed(split, batch, reference, beta):
    lengths, logprob = batch.length_QxG.copy(), batch.logprob_QxGxC.copy()
    lengths[3] = 0
    logprob[3] = -np.inf  # 0 x infinity: what is computed of it is no number
    filled = batch._replace(length_QxG=lengths, logprob_QxGxC=logprob)
    assert len(set(filled.reward_QxG[3].tolist())) > 1
    config = tiny.grpo(beta=beta, micro_batches=4)
    state, metrics = step(split, filled, config, reference=reference if beta else None)
    assert np.isfinite(metrics.grad_norm)
    expected, _ = step(
        split,
        filled._replace(logprob_QxGxC=batch.logprob_QxGxC),
        config,
        reference=reference if beta else None,
    )
    chex.assert_trees_all_equal(state.params, expected.params)


def test_rows_of_length_0_weigh_nothing(split, batch):
    lengths = batch.length_QxG.copy()
    lengths[3] = 0
    filled = batch._replace(length_QxG=lengths)
    tokens, rewards = batch.token_QxGxC.copy(), batch.reward_QxG.copy()
    tokens[3] = (tokens[3] + 1) % 96
    rewards[3] = 9 - 2 * rewards[3]
    other = filled._replace(token_QxGxC=tokens, reward_QxG=rewards)
    config = tiny.grpo(loss="grpo", advantage_scale="batch")
    one, same = (step(split, each, config)[0] for each in (filled, other))
    chex.assert_trees_all_equal(one.params, same.params)


def test_two_updates_on_a_batch_are_two_steps(split, batch):
    optimizer = optax.adam(1e-2)
    twice, _ = step(split, batch, tiny.grpo(updates=2), optimizer=optimizer)
    graph, _ = split
    program = jax.jit(lambda s: train_step(graph, optimizer, tiny.grpo(), s, None, batch)[0])
    state = TrainState(split[1], optimizer.init(split[1]), jnp.int32(0))
    expected = program(program(state))
    assert twice.step == expected.step == 2
    chex.assert_trees_all_close(twice.params, expected.params, atol=1e-5, rtol=1e-4)


def test_on_the_sampler_s_own_log_probs_nothing_is_clipped_and_the_gap_is_rounding(split, batch):
    exact = tiny.chosen(
        tiny.plain_logprobs(nnx.merge(*split), batch.token_QxGxC), batch.token_QxGxC
    )
    _, metrics = step(split, batch._replace(logprob_QxGxC=exact), tiny.grpo())
    assert metrics.clip_fraction == 0
    assert metrics.sampler_gap < 1e-5


@pytest.mark.parametrize(
    ("loss", "micro_batches"), [("dapo", 1), ("grpo", 1), ("dr_grpo", 4)], ids=str
)
def test_other_models_completions_are_learnt_from_as_if_drawn_now_if_they_are_good(
    split, batch, loss, micro_batches
):
    config = tiny.grpo(loss=loss, micro_batches=micro_batches)
    drawn_now = tiny.chosen(
        tiny.plain_logprobs(nnx.merge(*split), batch.token_QxGxC), batch.token_QxGxC
    )
    good = np.asarray(grpo.advantages(batch.reward_QxG, config.advantage_scale)) > 0
    others = np.arange(4) >= 2
    assert (good & others).any()
    assert (~good & others).any()
    external = np.broadcast_to(others, batch.reward_QxG.shape)
    got, metrics = step(split, batch._replace(external_QxG=external), config)
    logprob = np.where(others[:, None], drawn_now, batch.logprob_QxGxC)
    lengths = np.where(others & ~good, 0, batch.length_QxG)
    fewer, same = step(split, batch._replace(logprob_QxGxC=logprob, length_QxG=lengths), config)
    chex.assert_trees_all_close(got.params, fewer.params, atol=1e-5, rtol=1e-4)
    gap = np.abs(drawn_now - batch.logprob_QxGxC)
    is_own = ~others[:, None] & (np.arange(10) < batch.length_QxG[..., None])
    expected = same._replace(sampler_gap=np.mean(gap[is_own]))
    chex.assert_trees_all_close(metrics, expected, rtol=1e-4, atol=1e-6)


def test_the_kl_is_that_of_the_tokens_that_the_sampler_drew(split, batch, reference):
    config = tiny.grpo(beta=0.1)
    _, alone = step(split, batch, config, reference=reference)
    assert alone.kl > 0
    foreign = batch._replace(external_QxG=np.tile([False, True], (len(batch.reward_QxG), 2)))
    own = batch._replace(length_QxG=np.where(foreign.external_QxG, 0, batch.length_QxG))
    _, mixed = step(split, foreign, config, reference=reference)
    _, expected = step(split, own, config, reference=reference)
    np.testing.assert_allclose(mixed.kl, expected.kl, rtol=1e-5)


def test_where_the_sampler_drew_nothing_its_gap_is_0(split, batch):
    foreign = batch._replace(external_QxG=np.ones_like(batch.external_QxG))
    _, metrics = step(split, foreign, tiny.grpo())
    assert metrics.sampler_gap == 0
    assert metrics.grad_norm > 0


@pytest.mark.faults
@pytest.mark.parametrize("updates", [1, 2])
def test_a_gradient_that_is_not_finite_changes_no_weight_and_the_metrics_tell(
    split, batch, updates
):
    adamw = make_optimizer(OptimizerConfig(1.0, "constant", 0, 10, 1.0, 0.0, 0.9, 0.99))
    logprob = batch.logprob_QxGxC.copy()
    logprob[0, 0, 0] = np.nan
    poisoned = batch._replace(logprob_QxGxC=logprob)
    after, metrics = step(split, poisoned, tiny.grpo(updates=updates), optimizer=adamw)
    chex.assert_trees_all_equal(after.params, split[1])
    chex.assert_tree_all_finite(after)
    assert not np.isfinite(metrics.grad_norm)
    assert not np.isfinite(metrics.sampler_gap)


@pytest.mark.parametrize(
    ("micro_batches", "questions", "ways", "cut"),
    [
        (8, 8, 1, (8, 1)),
        (8, 8, 4, (2, 1)),
        (8, 8, 8, (1, 1)),
        (4, 12, 4, (1, 1)),
        (8, 4, 1, (4, 2)),
        (8, 4, 4, (1, 2)),
    ],
)
def test_there_are_no_more_pieces_than_a_device_has_questions_and_none_is_larger_for_it(
    micro_batches, questions, ways, cut
):
    made = pieces(micro_batches, questions, ways)
    assert made == cut
    assert questions // ways % made.by_question == 0, "each piece has some of each device's"
    at_a_time = questions / ways / made.count
    assert at_a_time <= questions / pieces(micro_batches, questions, 1).count


def test_micro_batches_that_do_not_cut_the_grid_are_refused():
    check_micro_batches(8, questions=4, group=4, is_packed=False)
    check_micro_batches(2, questions=4, group=4, is_packed=True)
    for count, is_packed in ((3, False), (8, True)):
        with pytest.raises(InputError, match="micro_batches"):
            check_micro_batches(count, questions=4, group=4, is_packed=is_packed)
