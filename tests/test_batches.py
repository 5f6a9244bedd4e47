"""Prompts, texts and rewards in and out of arrays."""

import numpy as np
import pytest

from jaxswarm import batches
from jaxswarm.learner.generate import Rollout


@pytest.fixture
def tokenizer(model_directory):
    from jaxswarm.tokenizer import Tokenizer

    return Tokenizer(model_directory)


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_a_prompt_that_fits_no_bucket_is_left_out_and_never_cut(tokenizer):
    chats = [chat("short"), chat("Ann has 3 apples. " * 40), chat("Ann")]
    lengths = [len(tokens) for tokens in tokenizer.encode_prompts(chats)]
    buckets = (lengths[0], lengths[0] + 3)
    assert lengths[1] > buckets[-1]
    prompts = batches.fit(tokenizer, chats, buckets, rows=3)
    assert prompts.kept == (0, 2)
    assert prompts.token_QxP.shape == (3, buckets[0])
    assert prompts.length_Q.tolist() == [lengths[0], lengths[2], lengths[0]]
    np.testing.assert_array_equal(prompts.token_QxP[2], prompts.token_QxP[0])


def test_no_prompt_that_fits_gives_an_empty_batch(tokenizer):
    prompts = batches.fit(tokenizer, [chat("too long")], (2,), rows=4)
    assert prompts.kept == ()


def test_fillers_are_given_no_text_no_length_and_no_weight(tokenizer):
    prompts = batches.fit(tokenizer, [chat("one"), chat("long " * 99)], (64,), rows=2)
    ids = tokenizer.encode_prompts([chat("Ann has 3 apples")])[0][4:9]
    token_QxGxC = np.tile(np.array([*ids, 0, 0, 0], np.int32), (2, 2, 1))
    rollout = Rollout(
        token_QxGxC,
        np.array([[len(ids)] * 2, [0, 0]], np.int32),
        np.zeros((2, 2, 8), np.float32),
        np.ones((2, 2), bool),
    )
    texts = batches.texts(tokenizer, prompts, rollout)
    assert texts == [[tokenizer.decode(ids)] * 2]
    assert prompts.budgets(2, 8).tolist() == [[8, 8], [0, 0]]
    batch = batches.learning_batch(prompts, rollout, np.array([[1.0, 2.0]]), (1,))
    assert batch.length_QxG.tolist() == [[len(ids)] * 2, [0, 0]]
    assert batch.packing is None, "twice that many tokens do not fit one row"
    assert batch.reward_QxG.tolist() == [[1, 2], [1, 2]]
