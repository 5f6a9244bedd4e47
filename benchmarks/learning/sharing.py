"""Nodes that trade rollouts in step: own and peers' completions of a question in one group.

After SAPO (arXiv 2509.08721). Each node draws a whole group, keeps the first of it, and fills it up
with completions of its peers, drawn by lot; so all mixes generate and learn from the same number of
completions. A peer's rewards are not looked at: its texts are scored by one's own. Then they count
as completions of another model do in `jaxswarm.learner.grpo`, or by truncated importance weights:

  w = min(π_own / π_peer, c)      a token; its gradient is w A ∇log π

The step knows only ratios π/π_old, so π_old is set to π_own / w. The config's clip must lie outside
of [0, c], or it would cut what the weight has cut already; with one update a batch it has nothing
to do for a node's own completions.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.learning.twin import Twin
from jaxswarm.learner.generate import Rollout
from jaxswarm.learner.logprobs import completion_logprobs
from jaxswarm.learner.train_step import Batch
from jaxswarm.model import qwen2
from jaxswarm.node import batches
from jaxswarm.node.outcome import Outcome
from jaxswarm.node.parts import NodeConfig
from jaxswarm.records import Discussion, Position
from jaxswarm.stages.dataset import Dataset, draw
from jaxswarm.stages.registry import StagePlan
from jaxswarm.tokenizer import Tokenizer

TRUNCATION = 2.0
"""c, the largest importance weight."""


class Offer(NamedTuple):
    """What a node offers of a round: all of its completions, by question."""

    rollout: Rollout[np.ndarray]
    texts: list[list[str]]


class Pool:
    """What the nodes of a run offer. Each call waits for all of them."""

    def __init__(self, nodes: int):
        self._offers: list[Offer | None] = [None] * nodes
        self._all_here = threading.Barrier(nodes)

    def trade(self, node: int, offer: Offer) -> list[Offer]:
        """Hands in one's own; gives those of the others, in their order."""
        self._offers[node] = offer
        self._all_here.wait()
        given = [o for at, o in enumerate(self._offers) if at != node and o is not None]
        self._all_here.wait()
        return given

    def wait(self) -> None:
        """Until all have learnt."""
        self._all_here.wait()

    def leave(self) -> None:
        """Wakes whoever waits, with an error: a node of the run has failed."""
        self._all_here.abort()


LogProbs = Callable[[Any, Batch[np.ndarray]], np.ndarray]


def own_logprobs(
    graph: nnx.GraphDef, *, dtype: str, temperature: float, vocab_slice: int
) -> LogProbs:
    """A program: what a model's parameters give each token of a batch. As `GRPOConfig` has them."""

    @jax.jit
    def program(params: nnx.State, batch: Batch) -> jax.Array:
        logprob, _ = completion_logprobs(
            nnx.merge(graph, qwen2.cast(params, dtype)),
            jnp.asarray(batch.prompt_QxP),
            jnp.asarray(batch.prompt_length_Q),
            jnp.asarray(batch.token_QxGxC),
            temperature=temperature,
            vocab_slice=vocab_slice,
            remat=False,
        )
        return logprob

    return lambda params, batch: np.asarray(program(params, batch))


def corrected(batch: Batch[np.ndarray], own: np.ndarray, first_external: int) -> Batch[np.ndarray]:
    """The batch with π_old of the external completions such that the ratio is the weight."""
    logprob = batch.logprob_QxGxC.copy()
    ours, theirs = own[:, first_external:], logprob[:, first_external:]
    log_weight = np.minimum(ours - theirs, np.log(TRUNCATION))
    logprob[:, first_external:] = ours - log_weight
    return batch._replace(logprob_QxGxC=logprob)


def _rollout(arrays: Iterable[np.ndarray]) -> Rollout[np.ndarray]:
    """Of arrays on the host, in the order of its fields."""
    return Rollout(*arrays)


class LockstepNode:
    """Rounds of stage 1 with groups of own and external completions."""

    def __init__(
        self,
        config: NodeConfig,
        node: int,
        learner: Twin,
        tokenizer: Tokenizer,
        plan: StagePlan,
        dataset: Dataset,
        pool: Pool,
        external: int,
        logprobs: LogProbs | None,
    ):
        """`external`: completions of peers in a group; 0 learns as a solo node does.

        `logprobs`: to weigh these by; None: they are not weighed.
        """
        self._config = config
        self._node = node
        self._learner = learner
        self._tokenizer = tokenizer
        self._plan = plan
        self._dataset = dataset
        self._pool = pool
        self._external = external
        self._logprobs = logprobs

    def run(self, goes_on: Callable[[int], bool]) -> None:
        """`goes_on` is asked after each round, with the number of rounds that are done."""
        rounds = 0
        while rounds == 0 or goes_on(rounds):
            self._round(rounds)
            rounds += 1

    def _round(self, index: int) -> None:
        config = self._config
        questions = draw(self._dataset.train, config.swarm_seed, index, config.questions)
        discussions = [Discussion(question) for question in questions]
        prompts = batches.fit(
            self._tokenizer,
            [self._plan.messages(discussion) for discussion in discussions],
            config.prompt_buckets,
            config.questions,
        )
        asked = [discussions[at] for at in prompts.kept]
        rollout = batches.complete(
            self._learner.generate,
            self._tokenizer,
            prompts,
            seed=config.stage_seed(Position(index, 0)),
            group=config.group,
            limit=config.limit,
            sampling=config.sampling,
        )
        texts = batches.texts(self._tokenizer, prompts, rollout)
        offers = self._pool.trade(self._node, Offer(rollout, texts))
        if self._external:
            rollout, texts = self._mix(index, Offer(rollout, texts), offers)
        outcome = Outcome.of(self._plan, asked, texts, rollout)
        local = config.group - self._external
        is_external = np.arange(config.group) >= local
        batch = batches.learning_batch(
            prompts,
            rollout,
            outcome.rewards,
            config.row_buckets,
            is_external if self._logprobs is None else None,
        )
        if self._logprobs is not None:
            own = self._logprobs(self._learner.state.params, batch)
            batch = corrected(batch, own, local)
        self._learner.step(batch)

    def _mix(self, index: int, own: Offer, offers: list[Offer]) -> Offer:
        """The first of one's own, and of the peers' as many as are wanted, by lot."""
        local = self._config.group - self._external
        lots = np.random.default_rng([self._config.seed, index])
        questions, group = own.rollout.length_QxG.shape
        given = zip(*(offer.rollout for offer in offers), strict=True)
        theirs = _rollout(np.concatenate(arrays, axis=1) for arrays in given)
        chosen = np.stack(
            [
                lots.choice(group * len(offers), self._external, replace=False)
                for _ in range(questions)
            ]
        )
        rows = np.arange(questions)[:, None]
        mixed = _rollout(
            np.concatenate([mine[:, :local], other[rows, chosen]], axis=1)
            for mine, other in zip(own.rollout, theirs, strict=True)
        )
        texts = [
            mine[:local] + [offers[lot // group].texts[at][lot % group] for lot in chosen[at]]
            for at, mine in enumerate(own.texts)
        ]
        return Offer(mixed, texts)
