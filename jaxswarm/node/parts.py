"""What a node is told and what it is made of. `jaxswarm.setup` makes both from a config."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from jaxswarm.learner.checkpoint import Checkpointer
from jaxswarm.learner.learner import Learner
from jaxswarm.learner.sampling import Sampling
from jaxswarm.node.held_out import EvaluationConfig
from jaxswarm.records import Position, Stage
from jaxswarm.report.journal import Journal
from jaxswarm.report.metrics import MetricsWriter
from jaxswarm.report.status import StatusLine
from jaxswarm.stages.dataset import Dataset
from jaxswarm.stages.registry import StagePlan
from jaxswarm.swarm.exchange import Exchange
from jaxswarm.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What a node does each round. Lengths are tokens unless said otherwise."""

    name: str
    """For people."""
    seed: int
    """Of this node's sampling; nodes of one swarm should differ in it."""
    swarm_seed: int
    """Of the rounds' questions; nodes of one swarm must agree in it."""
    rounds: int
    """Rounds to do; 0: until stopped."""
    questions: int
    """Of a round."""
    group: int
    """Completions of each question."""
    limit: int
    """Longest completion."""
    sampling: Sampling
    prompt_buckets: tuple[int, ...]
    row_buckets: tuple[float, ...]
    """Rows that the completions of a question may be packed into."""
    external: int
    """Of a group, in a swarm that shares rollouts, at most so many completions of peers."""
    publish: str
    """Which completion of a group is published: see `jaxswarm.stages.merge.choose`."""
    peers_in_prompt: int
    """Texts shown for one question, one's own included."""
    max_peer_chars: int
    """Longest text of a peer that is shown, in characters."""
    first_peers: int
    """Peers to wait for before the first stage, up to the stage's deadline."""
    stage_deadline_s: float
    """How long a stage waits for the peers in it, in seconds."""
    train_while_waiting: bool
    """Train on further questions while a stage waits for slower peers."""
    checkpoint_stages: int
    """Stages between checkpoints."""
    evaluate_rounds: int
    """Rounds between evaluations; 0: at the start and the end alone."""
    evaluation: EvaluationConfig
    profile_round: int
    """Its answer stage is profiled; -1: none."""

    def stage_seed(self, position: Position) -> int:
        """A stage's own sampling seed: the same when it is played again after a kill."""
        material = f"{self.seed}\n{position.round}\n{position.stage_index}".encode()
        return int.from_bytes(hashlib.sha256(material).digest()[:4]) >> 1


@dataclass(frozen=True, slots=True)
class Parts:
    """All open and ready; whoever made them closes them."""

    learner: Learner
    tokenizer: Tokenizer
    plans: Mapping[Stage, StagePlan]
    dataset: Dataset
    exchange: Exchange
    """Joined."""
    checkpointer: Checkpointer
    journal: Journal
    metrics: MetricsWriter
    status: StatusLine
