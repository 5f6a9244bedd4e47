"""One table: stage -> how it asks, what it pays, what it publishes and what it hands to the next
stage.

A node picks the plan of its stage and never asks which stage it is:

    stage     asks (prompts.py)            pays for (rewards.py)            hands on (merge.py)
    answer    the question                 answer, form                     answers
    critique  ... and peers' answers       pick, form                       critiques with votes
    resolve   ... and peers' critiques     predicted majority, final        nothing: the round
                                           answer, form                     is over
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from jaxswarm.errors import InputError
from jaxswarm.records import Discussion, Reply, Score, Stage, StageOutput
from jaxswarm.stages import merge, prompts, published, rewards, tags

PROMPT_SETS: Mapping[str, prompts.PromptSet] = MappingProxyType(
    {"full": prompts.FULL, "terse": prompts.TERSE}
)
REWARD_TABLES: Mapping[str, rewards.RewardTable] = MappingProxyType(
    {"corrected": rewards.CORRECTED, "published": published.PUBLISHED}
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StagePlan:
    """What a node needs to know of one stage."""

    stage: Stage
    prompt_set: prompts.PromptSet
    table: rewards.RewardTable

    def messages(self, discussion: Discussion) -> list[dict[str, str]]:
        """The chat messages that ask for this stage's reply."""
        return prompts.build(self.prompt_set, self.stage, discussion)

    def score(self, completion: str, discussion: Discussion) -> Score:
        """The reward of one completion, part by part."""
        return rewards.score(self.table, self.stage, completion, discussion)

    def is_right(self, completion: str, discussion: Discussion) -> bool:
        """Whether the stage's verdict is right: the final answer, or at critique the pick."""
        return rewards.is_right(self.stage, completion, discussion)

    def is_well_formed(self, completion: str) -> bool:
        """Whether the completion keeps the stage's reply format."""
        return tags.is_well_formed(self.stage, completion)

    def choose(
        self, policy: str, texts: Sequence[str], totals: Sequence[float], discussion: Discussion
    ) -> int:
        """The index of the text to publish; see `merge.choose`."""
        return merge.choose(policy, self.stage, texts, totals, discussion)

    def reply(self, text: str, discussion: Discussion) -> Reply:
        """The record to publish of the chosen text, with its vote."""
        return merge.reply_of(self.stage, text, discussion)

    def merge(
        self,
        discussions: Sequence[Discussion],
        outputs: Sequence[StageOutput],
        own: StageOutput,
        *,
        limit: int,
        swarm_seed: int,
        max_peer_chars: int,
    ) -> merge.Merged:
        """The discussions as the next stage sees them; see `merge.merge`."""
        return merge.merge(
            self.stage,
            discussions,
            outputs,
            own,
            limit=limit,
            swarm_seed=swarm_seed,
            max_peer_chars=max_peer_chars,
        )


def plans(prompt_set: str, reward_table: str) -> Mapping[Stage, StagePlan]:
    """The three stages under the prompts and rewards of these names.

    Raises:
      InputError: no prompt set or reward table of that name.
    """
    chosen_prompts = _named(PROMPT_SETS, prompt_set, "--config.stages.prompts")
    chosen_table = _named(REWARD_TABLES, reward_table, "--config.stages.rewards")
    return MappingProxyType(
        {stage: StagePlan(stage, chosen_prompts, chosen_table) for stage in Stage}
    )


def _named(table: Mapping[str, T], name: str, flag: str) -> T:
    if name not in table:
        raise InputError(
            flag, got=name, expected=" or ".join(table), remedy="choose one of these names"
        )
    return table[name]
