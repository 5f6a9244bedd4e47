"""What a node has learnt, and how much of it lies in a checkpoint."""

from jaxswarm.node.parts import NodeConfig, Parts
from jaxswarm.node.progress import Progress
from jaxswarm.node.resume import facts
from jaxswarm.records import Position


class Keeping:
    """Saves the learner's state with the position to go on at."""

    def __init__(
        self, config: NodeConfig, parts: Parts, progress: Progress, start: Position, stages: int
    ):
        """Saves nothing yet. `start`: where the node goes on. `stages`: of a round."""
        self._config = config
        self._parts = parts
        self._progress = progress
        self._stages = stages
        self._last_step = parts.checkpointer.latest() or 0
        self._unsaved = 0
        self.following = start
        """Where a node with what was learnt by now goes on."""

    @property
    def is_due(self) -> bool:
        """Whether as many stages were learnt from as may lie between two checkpoints."""
        return self._unsaved >= self._config.checkpoint_stages

    def learnt(self, following: Position) -> None:
        """What was learnt by now is to be kept with `following` as the stage to go on at."""
        self.following = following
        # Counted, not told from the position: who skips rounds might never be at a multiple.
        self._unsaved += 1

    def save(self, position: Position) -> None:
        """Saves all that was learnt, for a node that goes on at `position`."""
        self._progress.show("checkpoint")
        # A node that came back to its swarm is at an earlier stage than that of its last step.
        done = position.round * self._stages + position.stage_index
        self._last_step = max(done, self._last_step + 1)
        state = self._parts.learner.state
        self._unsaved = 0  # A save that fails ends the run, and is not to be tried again there.
        self._parts.checkpointer.save(self._last_step, state, facts(self._config, position))

    def save_rest(self, position: Position) -> None:
        """Saves what is not yet saved, if anything."""
        if self._unsaved:
            self.save(position)
