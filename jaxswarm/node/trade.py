"""What nodes that share rollouts give each other: completions, as text, and nothing else.

After SAPO (arXiv 2509.08721). A node asks some of its round's questions because peers have answered
them. Its group for such a question is made of its own completions and of some of theirs, scored by
its own rewards. It gives out as many completions of each question as it would take.
"""

from collections import Counter
from collections.abc import Mapping, Sized
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from jaxswarm.learner.generate import Rollout
from jaxswarm.node.outcome import Asked
from jaxswarm.node.parts import NodeConfig, Parts
from jaxswarm.node.saying import say_once
from jaxswarm.records import Discussion, Position, Reply, Score, Stage, StageOutput
from jaxswarm.report.journal import JournalState
from jaxswarm.stages.dataset import draw
from jaxswarm.stages.merge import fault

MAX_OFFERS = 64
"""Peers whose newest output is kept until its questions are asked."""
OF_LATE = 1 / 4
"""Share of the data set that is remembered as asked of late, and not followed. Were all that was
ever asked remembered, trade would end once each question had been asked."""


class _Offer(NamedTuple):
    """A peer's newest output: by question, its completions that are not yet taken."""

    position: Position
    completions: dict[str, list[tuple[str, float]]]
    """Text and reward of each."""


@dataclass(frozen=True, slots=True)
class Mixed:
    """Groups of own completions and of peers'."""

    asked: Asked
    """With the rollout to learn from. Its outcome is that of one's own completions alone."""
    reward_QxG: np.ndarray
    """Of the completions in the rollout."""
    external_QxG: np.ndarray
    """Bool: a peer's."""


class Trade:
    """Reads what has arrived from peers, and mixes it into one's own groups."""

    def __init__(self, config: NodeConfig, parts: Parts, past: JournalState, refused: Counter[str]):
        """Does nothing yet.

        Args:
          config: what the node is told.
          parts: what it is made of.
          past: what the journal holds of rounds that will be played again.
          refused: counts peers' completions that are not taken, by reason.
        """
        self._config = config
        self._parts = parts
        self._past = past
        self._refused = refused
        self._plan = parts.plans[Stage.ANSWER]
        self._questions = {question.id: question for question in parts.dataset.train}
        self._offers: dict[str, _Offer] = {}
        """The newest of each peer; who was heard last stands last."""
        self._asked: dict[str, None] = {}
        """Ids of the questions that were asked of late, in that order."""

    def look(self, round_index: int) -> tuple[StageOutput, ...]:
        """Reads what has arrived since the last look. A peer's newest output replaces its last."""
        seen = {peer: offer.position for peer, offer in self._offers.items()}
        outputs = self._parts.exchange.arrived(seen, round_index)
        for output in outputs:
            offered: dict[str, list[tuple[str, float]]] = {}
            scores: dict[Reply, Score] = {}
            kept: list[Reply] = []
            for reply in output.replies:
                if reason := self._reason_against(reply, offered):
                    self._refused[reason] += 1
                    continue
                about = Discussion(self._questions[reply.question_id])
                scores[reply] = self._plan.score(reply.text, about)
                kept.append(reply)
                completion = reply.text, scores[reply].total
                offered.setdefault(reply.question_id, []).append(completion)
            self._parts.journal.offered(replace(output, replies=tuple(kept)), scores)
            self._offers.pop(output.peer, None)
            self._offers[output.peer] = _Offer(output.position, offered)
        for peer in list(self._offers)[:-MAX_OFFERS]:
            del self._offers[peer]
        return outputs

    def questions(self, round_index: int) -> tuple[Discussion, ...]:
        """The round's questions: up to half of them such as peers have answered, the rest by lot.

        A question that was asked of late is not followed, so that there are always new ones in the
        swarm.
        """
        config, train = self._config, self._parts.dataset.train
        offered = {question for offer in self._offers.values() for question in offer.completions}
        unasked = [self._questions[it] for it in sorted(offered - self._asked.keys())]
        count = min(len(unasked), -(-config.questions // 2))
        followed = draw(unasked, config.seed, round_index, count)
        drawn = draw(train, config.seed, round_index, config.questions)
        fresh = [question for question in drawn if question not in followed]
        chosen = (*followed, *fresh)[: config.questions]
        for question in chosen:
            self._asked.pop(question.id, None)
            self._asked[question.id] = None
        for question_id in list(self._asked)[: -max(1, round(OF_LATE * len(train)))]:
            del self._asked[question_id]
        return tuple(Discussion(question) for question in chosen)

    def publish(self, position: Position, asked: Asked) -> None:
        """Publishes the first of one's own completions of each question that came to their end.

        Who reads the others could not tell that they were cut, and would learn to end there.
        """
        replies: list[Reply] = []
        scores: dict[Reply, Score] = {}
        outcome = asked.outcome
        for discussion, texts, group, ended in zip(
            asked.discussions, outcome.texts, outcome.scores, outcome.ended, strict=True
        ):
            for index in np.flatnonzero(ended)[: self._config.external]:
                replies.append(self._plan.reply(texts[index], discussion))
                scores[replies[-1]] = group[index]
        output = StageOutput(self._parts.exchange.peer, position, tuple(replies))
        say_once(self._parts, self._past, output, asked, scores)

    def mix(self, round_index: int, asked: Asked) -> Mixed:
        """Puts peers' completions, drawn by lot, in the place of the last of one's own groups."""
        reward_QxG = asked.outcome.rewards
        external_QxG = np.zeros(reward_QxG.shape, bool)
        if asked.rollout is None:
            return Mixed(asked, reward_QxG, external_QxG)
        rollout = Rollout(*(array.copy() for array in asked.rollout))
        lots = np.random.default_rng([self._config.seed, round_index])
        for q, discussion in enumerate(asked.discussions):
            taken = self._take(discussion.question.id, lots)
            for g, (ids, reward) in enumerate(taken, self._config.group - len(taken)):
                _put(rollout, (q, g), ids)
                reward_QxG[q, g], external_QxG[q, g] = reward, True
        return Mixed(replace(asked, rollout=rollout), reward_QxG, external_QxG)

    def _take(self, question: str, lots: np.random.Generator) -> list[tuple[list[int], float]]:
        """Tokens and rewards of some of the peers' completions of a question, offered once."""
        offers = [self._offers[peer].completions for peer in sorted(self._offers)]
        offered = [completion for offer in offers for completion in offer.pop(question, ())]
        tokens = self._parts.tokenizer.encode_completions([text for text, _ in offered])
        both = [(ids, reward) for ids, (_, reward) in zip(tokens, offered, strict=True)]
        fitting = [pair for pair in both if len(pair[0]) <= self._config.limit]
        self._refused["too long"] += len(both) - len(fitting)
        chosen = lots.permutation(len(fitting))[: self._config.external]
        return [fitting[at] for at in sorted(chosen)]

    def _reason_against(self, reply: Reply, offered: Mapping[str, Sized]) -> str:
        """Why a peer's completion is not taken, beside those that it has offered; or ""."""
        given = len(offered.get(reply.question_id, ()))
        is_one_question_more = not given and len(offered) == self._config.questions
        if given == self._config.external or is_one_question_more:
            return "too many"
        return fault(reply, self._questions, self._config.max_peer_chars)


def _put(rollout: Rollout[np.ndarray], at: tuple[int, int], ids: list[int]) -> None:
    """A completion that another model drew, with probabilities that are not known, in its place."""
    rollout.token_QxGxC[at] = 0
    rollout.token_QxGxC[at][: len(ids)] = ids
    rollout.logprob_QxGxC[at] = 0
    rollout.length_QxG[at] = len(ids)
    rollout.ended_QxG[at] = True
