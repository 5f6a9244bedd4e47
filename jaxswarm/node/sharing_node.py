"""A node that shares rollouts: it keeps no step with its peers and waits for nobody.

    peers' completions -> questions -> prompts -> token ids -> generate -> texts -> rewards
    -> publish -> mix -> advantages -> train step

A round is one answer stage. `SharingNode._play` is that line; the rest is any node's life.
"""

from jaxswarm.node.life import Life
from jaxswarm.node.outcome import Heard
from jaxswarm.node.parts import NodeConfig, Parts
from jaxswarm.node.resume import Start
from jaxswarm.node.trade import Trade
from jaxswarm.records import Position


class SharingNode(Life):
    """Runs rounds of its own, and learns from what has arrived of others."""

    stages = 1

    def __init__(self, config: NodeConfig, parts: Parts, start: Start):
        """Does nothing yet. `start`: from `jaxswarm.node.resume.resume`."""
        super().__init__(config, parts, start)
        self._trade = Trade(config, parts, start.past, self._refused)

    def _begin(self, position: Position) -> Position:
        """Where it is itself, whatever the others do; the checkpoint may be of a run in stages."""
        return position if position.stage_index == 0 else Position(position.round + 1, 0)

    def _play(self, position: Position) -> Position:
        config, parts = self._config, self._parts
        self._progress.begin(position)
        parts.exchange.announce(position, published=False)
        with self._progress.phase("gather"):
            outputs = self._trade.look(position.round)
            discussions = self._trade.questions(position.round)
        plan, seed = parts.plans[position.stage], config.stage_seed(position)
        with self._traced(position):
            asked = self._study.ask(plan, discussions, seed, self._progress.phase)
            with self._progress.phase("publish"):
                self._trade.publish(position, asked)
                parts.exchange.announce(position, published=True)
            with self._progress.phase("mix"):
                mixed = self._trade.mix(position.round, asked)
            outcome = self._study.learn(
                mixed.asked, self._progress.phase, mixed.reward_QxG, mixed.external_QxG
            )
        following = Position(position.round + 1, 0)
        self._kept.learnt(following)
        external = int(mixed.external_QxG.sum())
        self._report(position, outcome, Heard(outputs_read=len(outputs), external=external))
        self._between(following)
        return following
