"""What the three stages are worth when nothing is learnt any more: against votes at equal tokens.

The nodes of a run answer, criticise and resolve held-out questions, one sampled reply each and no
gold anywhere; the group's answer is the majority of its final ones. The same tokens buy a number of
plain answers, whose majority it is compared with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from benchmarks.learning.measures import Reader, majority
from jaxswarm.learner.generator import Generate
from jaxswarm.learner.sampling import Sampling
from jaxswarm.node import batches
from jaxswarm.node.parts import NodeConfig
from jaxswarm.records import STAGES, Discussion, Position, Question, Stage, StageOutput
from jaxswarm.stages.registry import StagePlan


@dataclass(frozen=True, slots=True)
class Debate:
    """One figure a question, in their order."""

    resolved: list[float]
    """Whether the majority of the nodes' final answers is right."""
    voted: list[float]
    """Whether the majority of `votes` plain answers of the same nodes is."""
    votes: int
    """As many as have about the tokens of the three stages."""
    tokens: float
    """That all nodes spent on a question in three stages."""


def debate(
    reader: Reader,
    asks: Sequence[Generate],
    plans: Mapping[Stage, StagePlan],
    config: NodeConfig,
    questions: Sequence[Question],
    samples: Sequence[Sequence[Sequence[str]]],
    sample_length: float,
    seed: int,
) -> Debate:
    """Args:
    reader: how questions are asked.
    asks: one a node.
    plans: of the three stages.
    config: how many texts a prompt shows.
    questions: held-out ones.
    samples: of each node, of each question, plain answers to vote with.
    sample_length: their mean, in tokens.
    seed: of the sampling.
    """
    seen = [tuple(Discussion(question) for question in questions) for _ in asks]
    texts: list[list[str]] = []
    tokens = 0
    for stage_index, stage in enumerate(STAGES):
        plan, position = plans[stage], Position(0, stage_index)
        texts, outputs = [], []
        for node, (ask, discussions) in enumerate(zip(asks, seen, strict=True)):
            drawn = reader.ask(
                ask, plan, discussions, Sampling(), 1, seed + 10007 * (3 * node + stage_index)
            )
            tokens += drawn.tokens
            texts.append([group[0] for group in drawn.texts])
            replies = (plan.reply(t, d) for t, d in zip(texts[-1], discussions, strict=True))
            outputs.append(StageOutput(f"node-{node}", position, tuple(replies)))
        if stage is STAGES[-1]:
            break
        following, longest = plans[position.next().stage], max(config.prompt_buckets)
        for node, (own, discussions) in enumerate(zip(outputs, seen, strict=True)):
            merged = plan.merge(
                discussions,
                [output for output in outputs if output is not own],
                own,
                limit=config.peers_in_prompt,
                swarm_seed=seed,
                max_peer_chars=config.max_peer_chars,
            ).discussions
            seen[node], _ = batches.shorten(reader.tokenizer, following, merged, own.peer, longest)
    spent = tokens / len(questions)
    # The nodes' samples take turns, so that any number of votes is spread over the nodes.
    pools = [list(chain(*zip(*by_node, strict=True))) for by_node in zip(*samples, strict=True)]
    votes = max(1, min(round(spent / sample_length), len(pools[0])))
    return Debate(
        resolved=[
            float(majority([own[index] for own in texts]) == question.gold)
            for index, question in enumerate(questions)
        ],
        voted=[
            float(majority(pool[:votes]) == question.gold)
            for pool, question in zip(pools, questions, strict=True)
        ],
        votes=votes,
        tokens=spent,
    )
