"""How an output goes out, whatever kind of node says it: once, and in the journal first."""

from collections.abc import Mapping

from jaxswarm.node.outcome import Asked
from jaxswarm.node.parts import Parts
from jaxswarm.records import Reply, Score, StageOutput
from jaxswarm.report.journal import JournalState


def say_once(
    parts: Parts,
    past: JournalState,
    output: StageOutput,
    asked: Asked,
    scores: Mapping[Reply, Score],
) -> StageOutput:
    """Publishes an output, or what was published in its place before a kill, and returns that.

    It is in the journal before the network has it. A stage that was played before a kill is
    published again word for word, whatever this time's texts are.
    """
    again = past.published.get(output.position)
    if again is None:
        questions = [discussion.question for discussion in asked.discussions]
        parts.journal.published(output, questions, scores)
    said = again or output
    parts.exchange.publish(said)
    return said
