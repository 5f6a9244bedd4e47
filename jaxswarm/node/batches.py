"""Between texts and arrays: prompts into a batch, a rollout into texts, both into a GRPO batch.

The compiled programs know one number of questions. Where a prompt does not fit its bucket, its
place is filled with a copy of another question whose completions have length 0: they weigh nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from jaxswarm.learner.generate import Rollout
from jaxswarm.learner.generator import Generate
from jaxswarm.learner.packing import pack
from jaxswarm.learner.sampling import Sampling
from jaxswarm.learner.train_step import Batch
from jaxswarm.records import Discussion, PeerText
from jaxswarm.stages.registry import StagePlan
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

    def budgets(self, group: int, limit: int) -> np.ndarray:
        """[Q, G] int32: tokens that each completion may have, none for fillers."""
        budget_QxG = np.zeros((len(self.length_Q), group), np.int32)
        budget_QxG[: len(self.kept)] = limit
        return budget_QxG

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


def shorten(
    tokenizer: Tokenizer,
    plan: StagePlan,
    discussions: Sequence[Discussion],
    own: str,
    longest: int,
) -> tuple[tuple[Discussion, ...], int]:
    """The discussions with as many of their texts as a prompt holds, and how many it doesn't.

    Peers are bounded in characters, and one may take several tokens: nobody's text shall take a
    question from the others. Whole texts go, the ones that take most tokens of the prompt first. A
    question that is too long without them all keeps them: `fit` leaves it out.

    Args:
      tokenizer: the model's.
      plan: of the stage that asks next.
      discussions: as that stage would see them.
      own: the peer whose texts go last.
      longest: a prompt, in tokens.
    """

    def lengths(of: Iterable[Discussion]) -> list[int]:
        return [len(ids) for ids in tokenizer.encode_prompts([plan.messages(d) for d in of])]

    shorter: list[Discussion] = []
    left_out = 0
    for discussion, length in zip(discussions, lengths(discussions), strict=True):
        if length > longest:
            shown = (*discussion.answers, *discussion.critiques)
            rest = lengths(_without(discussion, text) for text in shown)
            order = sorted(zip(rest, shown, strict=True), key=lambda of: (of[1].peer == own, of[0]))
            tries = list(accumulate((text for _, text in order), _without, initial=discussion))
            fits = (n for n, length in enumerate(lengths(tries)) if length <= longest)
            gone = next(fits, 0)
            discussion = tries[gone]
            left_out += gone
        shorter.append(discussion)
    return tuple(shorter), left_out


def _without(discussion: Discussion, text: PeerText) -> Discussion:
    return replace(
        discussion,
        answers=tuple(answer for answer in discussion.answers if answer is not text),
        critiques=tuple(critique for critique in discussion.critiques if critique is not text),
    )


def complete(
    generate: Generate,
    tokenizer: Tokenizer,
    prompts: Prompts,
    *,
    seed: int,
    group: int,
    limit: int,
    sampling: Sampling,
) -> Rollout[np.ndarray]:
    """G completions of each prompt that was kept, none of fillers."""
    return generate(
        prompts.token_QxP,
        prompts.length_Q,
        seed=seed,
        group=group,
        limit=limit,
        sampling=sampling,
        stop_tokens=tokenizer.stop_tokens,
        budget_QxG=prompts.budgets(group, limit),
    )


def texts(tokenizer: Tokenizer, prompts: Prompts, rollout: Rollout[np.ndarray]) -> list[list[str]]:
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
    prompts: Prompts,
    rollout: Rollout[np.ndarray],
    reward_KxG: np.ndarray,
    row_buckets: Sequence[float],
    external_KxG: np.ndarray | None = None,
) -> Batch[np.ndarray]:
    """What the GRPO step learns from. K of the Q questions have prompts that were kept.

    Args:
      prompts: as they were sampled from.
      rollout: with no token for fillers.
      reward_KxG: of the completions.
      row_buckets: numbers of rows that a question's completions may be packed into, see `pack`.
      external_KxG: bool, another model drew the completion; None: no such one is among them.
    """
    Q, G, C = rollout.token_QxGxC.shape
    kept = len(prompts.kept)
    external_QxG = np.zeros((Q, G), bool)
    if external_KxG is not None:
        external_QxG[:kept] = external_KxG
    fillers = np.repeat(reward_KxG[:1], Q - kept, axis=0)
    return Batch(
        prompts.token_QxP,
        prompts.length_Q,
        rollout.token_QxGxC,
        rollout.length_QxG,
        rollout.logprob_QxGxC,
        np.concatenate([reward_KxG, fillers]).astype(np.float32),
        external_QxG,
        pack(rollout.length_QxG, C, row_buckets),
    )
