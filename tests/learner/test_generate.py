"""Generation against the plain full forward pass."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxswarm.learner.generate import cache_sizes, generate, prompt_pieces, row_counts
from jaxswarm.learner.sampling import GREEDY, Sampling, sample
from tests.learner import tiny

STOP = (13, 14, 15, 16, 17, 18)


@pytest.fixture(scope="module")
def model():
    return tiny.model()


def roll(
    model, sampling, *, seed=0, prompt=tiny.PROMPT_QxP, stop=STOP, group=4, limit=10, budget=None
):
    program = jax.jit(
        lambda key: generate(
            model,
            jnp.asarray(prompt),
            jnp.asarray(tiny.LENGTH_Q),
            jnp.full((len(prompt), group), limit, jnp.int32) if budget is None else budget,
            key,
            limit=limit,
            sampling=sampling,
            stop_tokens=stop,
        )
    )
    return jax.device_get(program(jax.random.key(seed)))


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(), Sampling(0.8)])
def test_tokens_and_log_probabilities_are_those_of_the_full_forward(model, sampling):
    rollout = roll(model, sampling)
    temperature = sampling.temperature or 1.0
    plain = tiny.plain_logprobs(model, rollout.token_QxGxC, temperature)
    drawn = np.arange(10) < rollout.length_QxG[..., None]
    expected = tiny.chosen(plain, rollout.token_QxGxC)
    np.testing.assert_allclose(rollout.logprob_QxGxC[drawn], expected[drawn], atol=1e-4)
    if sampling == GREEDY:
        np.testing.assert_array_equal(rollout.token_QxGxC[drawn], plain.argmax(-1)[drawn])
    assert len(set(rollout.length_QxG.ravel())) > 1, "rows that end early are part of this test"


@pytest.mark.parametrize(
    ("questions", "length", "pieces"),
    [(8, 512, 1), (32, 4096, 8), (5, 4096, 1), (7, 4096, 7), (2, 100_000, 2)],
)
def test_prompts_are_read_in_as_few_pieces_as_memory_allows(questions, length, pieces):
    assert prompt_pieces(questions, length, heads=12) == pieces


def test_a_cache_grows_by_few_steps_up_to_the_limit():
    assert cache_sizes(80) == (80,)
    assert cache_sizes(128) == (128,)
    assert cache_sizes(200) == (128, 200)
    assert cache_sizes(512) == (128, 256, 384, 512)
    assert cache_sizes(1001) == (251, 502, 753, 1001)


def test_of_a_group_all_rows_are_decoded_then_half_then_an_eighth():
    assert row_counts(1) == (1,)
    assert row_counts(2) == (2, 1)
    assert row_counts(5) == (5, 3, 1)
    assert row_counts(8) == (8, 4, 1)
    assert row_counts(16) == (16, 8, 2)


@pytest.mark.parametrize(("name", "value"), [("CACHE_SLOTS", 1), ("ROWS_LEFT", ())])
@pytest.mark.parametrize("stop", [STOP, (), tuple(range(tiny.CONFIG.vocab_size))])
def test_growing_the_cache_and_dropping_finished_rows_change_no_token(
    model, monkeypatch, stop, name, value
):
    expected = roll(model, Sampling(), stop=stop)
    monkeypatch.setattr(f"jaxswarm.learner.generate.{name}", value)
    found = roll(model, Sampling(), stop=stop)
    np.testing.assert_array_equal(found.token_QxGxC, expected.token_QxGxC)
    np.testing.assert_array_equal(found.length_QxG, expected.length_QxG)
    np.testing.assert_array_equal(found.ended_QxG, expected.ended_QxG)
    np.testing.assert_allclose(found.logprob_QxGxC, expected.logprob_QxGxC, atol=1e-5)


def test_finished_rows_are_dropped_as_soon_as_few_enough_of_each_group_are_left(model, monkeypatch):
    steps = Counter()

    def noting(logits_BxV, uniform_2xB, sampling):
        rows = len(logits_BxV)
        jax.debug.callback(lambda: steps.update([rows]))
        return sample(logits_BxV, uniform_2xB, sampling)

    monkeypatch.setattr("jaxswarm.learner.generate.sample", noting)
    budget_QxG = np.array([[1, 9, 7, 3], [4, 4, 4, 5], [0, 0, 6, 0], [1, 1, 1, 1]], np.int32)
    rollout = roll(model, Sampling(), stop=(), budget=budget_QxG)
    jax.effects_barrier()
    np.testing.assert_array_equal(rollout.length_QxG, budget_QxG)
    assert steps == {16: 4, 8: 7 - 4, 4: 9 - 7}


def test_rows_end_at_their_first_stop_token_and_hold_nothing_after_it(model):
    rollout = roll(model, Sampling())
    assert rollout.ended_QxG.any()
    assert not rollout.ended_QxG.all()
    for q, g in np.ndindex(4, 4):
        length, tokens = rollout.length_QxG[q, g], rollout.token_QxGxC[q, g]
        assert rollout.ended_QxG[q, g] == (tokens[length - 1] in STOP)
        assert length == 10 or rollout.ended_QxG[q, g]
        assert not np.isin(tokens[: length - 1], STOP).any()
        assert not tokens[length:].any()
        assert not rollout.logprob_QxGxC[q, g, length:].any()


def test_without_stop_tokens_every_row_reaches_the_limit(model):
    rollout = roll(model, Sampling(), stop=())
    assert (rollout.length_QxG == 10).all()
    assert not rollout.ended_QxG.any()


def test_the_same_seed_draws_the_same_tokens_and_another_seed_others(model):
    first, again, other = (roll(model, Sampling(), seed=seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.token_QxGxC, again.token_QxGxC)
    assert (first.token_QxGxC != other.token_QxGxC).any()


def test_the_rows_of_a_group_are_drawn_apart(model):
    tokens = roll(model, Sampling()).token_QxGxC
    assert all((tokens[q, 0] != tokens[q, g]).any() for q in range(4) for g in range(1, 4))


def test_more_padding_changes_no_token(model):
    wide = np.pad(tiny.PROMPT_QxP, [(0, 0), (0, 9)])
    np.testing.assert_array_equal(
        roll(model, GREEDY).token_QxGxC, roll(model, GREEDY, prompt=wide).token_QxGxC
    )


def test_a_row_draws_no_more_than_its_budget_and_is_not_changed_by_another_s(model):
    budget_QxG = np.array([[10, 3, 0, 7], [0] * 4, [1] * 4, [10] * 4], np.int32)
    whole = roll(model, Sampling(), stop=())
    part = roll(model, Sampling(), stop=(), budget=budget_QxG)
    np.testing.assert_array_equal(part.length_QxG, budget_QxG)
    assert not part.ended_QxG.any()
    within = np.arange(10) < budget_QxG[..., None]
    np.testing.assert_array_equal(part.token_QxGxC, np.where(within, whole.token_QxGxC, 0))


def test_the_loop_ends_when_every_row_has_ended(model):
    everything = tuple(range(tiny.CONFIG.vocab_size))
    rollout = roll(model, Sampling(), stop=everything, limit=10)
    assert (rollout.length_QxG == 1).all()
    # What follows in the cache was never computed: a loop that went on would have filled it.
    assert rollout.ended_QxG.all()
