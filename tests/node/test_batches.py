"""Prompts, texts and rewards in and out of arrays."""

import numpy as np
import pytest

from jaxswarm.learner.generate import Rollout
from jaxswarm.node import batches
from jaxswarm.records import Discussion, PeerText, Question, Stage
from jaxswarm.stages import registry


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


CRITIQUE = registry.plans("full", "corrected")[Stage.CRITIQUE]


def discussed(*texts: str) -> Discussion:
    """The first text is one's own."""
    peers = zip(("me", "ann", "ben"), texts, strict=False)
    question = Question("q", "How many are 2 and 3?", "5")
    return Discussion(question, tuple(PeerText(*each) for each in peers))


@pytest.mark.parametrize("hostile", ["🦜" * 60, "\n" * 60], ids=["rare characters", "quoted lines"])
def test_the_text_that_takes_most_tokens_of_a_prompt_goes_first_and_one_s_own_last(
    tokenizer, hostile
):
    """Whatever it takes outside a prompt: each of a stranger's lines stands behind a mark there."""
    own, honest = "I buy 14 apples. " * 12, "Ann has 3 apples. " * 5
    assert len(hostile) < len(honest) < len(own)

    def length(*texts: str) -> int:
        (tokens,) = tokenizer.encode_prompts([CRITIQUE.messages(discussed(*texts))])
        return len(tokens)

    def shortened(longest: int) -> tuple[list[str], int]:
        talk = discussed(own, honest, hostile)
        (shorter,), left_out = batches.shorten(tokenizer, CRITIQUE, [talk], "me", longest)
        return [answer.text for answer in shorter.answers], left_out

    whole = length(own, honest, hostile)
    assert shortened(whole) == ([own, honest, hostile], 0)
    assert shortened(whole - 1) == ([own, honest], 1)
    assert shortened(length(own, honest) - 1) == ([own], 2)
    assert shortened(length(own) - 1) == ([], 3)
    assert shortened(length() - 1) == ([own, honest, hostile], 0), "`fit` leaves the question out"


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
