"""When a node measures its held-out accuracy: at first, every so many rounds, at the end."""

from collections.abc import Callable

from jaxswarm.node.held_out import evaluate
from jaxswarm.node.parts import NodeConfig, Parts
from jaxswarm.node.progress import Progress
from jaxswarm.records import Position, Stage
from jaxswarm.report.reports import HeldOutReport


class Evaluations:
    """Those of one run. Each round that the node comes to is measured once at most."""

    def __init__(
        self,
        config: NodeConfig,
        parts: Parts,
        progress: Progress,
        start: Position,
        is_stopping: Callable[[], bool],
    ):
        """Measures nothing yet.

        Args:
          config: of the node.
          parts: of the node.
          progress: shows how far an evaluation is.
          start: where the node goes on. It may have been stopped before it had measured that round.
          is_stopping: an evaluation is given up once this is true.
        """
        self._config = config
        self._parts = parts
        self._progress = progress
        self._is_stopping = is_stopping
        is_measured = start.round > 0 and start.round in parts.metrics.measured_rounds
        self._measured_at = start.round - (start.stage_index == 0 and not is_measured)

    def is_due(self, position: Position) -> bool:
        """Whether the node measures itself before it plays on at `position`.

        Multiples of the config's rounds are passed, not met: who skips some might never be at one.
        """
        every, round_ = self._config.evaluate_rounds, position.round
        passed = every > 0 and round_ // every != self._measured_at // every
        return position.stage_index == 0 and (passed or round_ == 0)

    def make(self, position: Position, seconds: Callable[[], float]) -> None:
        """Measures, and writes it down with the `seconds` that the run then has lasted.

        Not while the node is to stop: it is measured there when it goes on.
        """
        config, parts = self._config.evaluation, self._parts
        if config.questions == 0 or self._measured_at == position.round or self._is_stopping():
            return
        self._measured_at = position.round

        def tell(done: int, of: int) -> None:
            self._progress.show(f"held-out questions {done}/{of}", done / of)
            if self._is_stopping() and done < of:
                raise _StoppedError

        generate, plan = parts.learner.generate, parts.plans[Stage.ANSWER]
        try:
            found = evaluate(generate, parts.tokenizer, plan, parts.dataset.held_out, config, tell)
        except _StoppedError:
            return
        parts.metrics.write(
            HeldOutReport(
                rounds=position.round,
                seconds=seconds(),
                questions=found.questions,
                accuracy=found.greedy,
                accuracy_sampled=found.sampled,
                format_rate=found.greedy_format,
            )
        )


class _StoppedError(Exception):
    """An evaluation was given up because the node is to stop."""
