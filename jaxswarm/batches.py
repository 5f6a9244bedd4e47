"""Between texts and arrays: prompts into a batch, a rollout into texts, both into a GRPO batch.

The compiled programs know one number of questions. Where a prompt does not fit its bucket, its
place is filled with a copy of another question whose completions have length 0: they weigh nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxswarm.learner.generate import Rollout
from jaxswarm.learner.train_step import Batch
from jaxswarm.swarm.codec import clean
from jaxswarm.tokenizer import Tokenizer, bucket_for


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of a stage as the learner reads them."""

    token_QxP: np.ndarray
    """int32, padded at the right to a bucket."""
    length_Q: np.ndarray
    kept: tuple[int, ...]
    """Which of the given prompts stand in the first rows, in this order; the rest are fillers."""

    @property
    def is_empty(self) -> bool:
        return not self.kept


def fit(
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[dict[str, str]]],
    buckets: Sequence[int],
    rows: int,
) -> Prompts:
    """Renders chat messages into a batch of `rows` prompts. One that fits no bucket is left out."""
    tokens = tokenizer.encode_prompts(prompts)
    kept = tuple(i for i, ids in enumerate(tokens) if bucket_for(len(ids), buckets) is not None)
    if not kept:
        empty = np.zeros((rows, 0), np.int32)
        return Prompts(empty, np.zeros(rows, np.int32), ())
    filled = [tokens[i] for i in kept] + [tokens[kept[0]]] * (rows - len(kept))
    token_QxP, length_Q = tokenizer.pad(filled, buckets)
    return Prompts(token_QxP, length_Q, kept)


def texts(tokenizer: Tokenizer, prompts: Prompts, rollout: Rollout) -> list[list[str]]:
    """The completions as text, G for each prompt that was kept.

    Characters that no peer accepts are taken out here, before rewards, votes and the journal, so
    that all of them see the text that travels.
    """
    return [
        [
            clean(tokenizer.decode(token_C[:length]))
            for token_C, length in zip(token_GxC, length_G, strict=True)
        ]
        for token_GxC, length_G in zip(
            rollout.token_QxGxC[: len(prompts.kept)],
            rollout.length_QxG[: len(prompts.kept)],
            strict=True,
        )
    ]


def learning_batch(
    prompts: Prompts, rollout: Rollout, rewards: np.ndarray, completion_buckets: Sequence[int]
) -> Batch:
    """What the GRPO step learns from, cut to the bucket of the longest completion.

    Args:
      prompts: as they were sampled from.
      rollout: on the host.
      rewards: [kept, G].
      completion_buckets: the last one is the sampler's limit.
    """
    kept = len(prompts.kept)
    length_QxG = np.array(rollout.length_QxG)
    length_QxG[kept:] = 0
    width = bucket_for(int(length_QxG.max()), completion_buckets)
    assert width is not None, (length_QxG.max(), completion_buckets)
    fillers = np.repeat(rewards[:1], len(length_QxG) - kept, axis=0)
    arrays: dict[str, Any] = {
        "prompt_QxP": prompts.token_QxP,
        "prompt_length_Q": prompts.length_Q,
        "token_QxGxC": rollout.token_QxGxC[:, :, :width],
        "length_QxG": length_QxG,
        "logprob_QxGxC": rollout.logprob_QxGxC[:, :, :width],
        "reward_QxG": np.concatenate([rewards, fillers]).astype(np.float32),
    }
    return Batch(**arrays)
