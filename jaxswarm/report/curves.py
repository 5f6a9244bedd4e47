"""Learning curves of a swarm as one picture: a line for each node over the time since it joined."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from jaxswarm.records import Stage
from jaxswarm.report.reports import CONSENSUS, Reports, whole_rounds

Point = tuple[float, float]


def draw(nodes: Mapping[str, Reports], path: Path) -> None:
    """Writes the picture of all nodes' curves as a PNG.

    A stage that was done twice, because a killed node went on from a checkpoint before it, counts
    as it was done last.

    Args:
      nodes: what each node reported, by its name.
      path: the file to write.
    """
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    grid = figure.subplots(2, 3, sharex=True)
    for axes, (title, points_of) in zip(grid.flat, PANELS, strict=True):
        for name, reports in nodes.items():
            points = points_of(reports)
            x, y = [x for x, _ in points], [y for _, y in points]
            axes.plot(x, y, "o-", markersize=3, linewidth=1.2, label=name)
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
    grid[0, 0].set_xlim(left=0)
    figure.supxlabel("seconds since the node joined", fontsize=9)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=8)
    figure.savefig(path, dpi=110)


def _round_rewards(reports: Reports) -> list[Point]:
    """The mean over a round's stages, at its end; rounds that lack a stage are left out."""
    return [
        (stages[-1].seconds, sum(report.reward for report in stages) / len(stages))
        for stages in whole_rounds(reports.stages)
    ]


def _consensus(reports: Reports) -> list[Point]:
    resolved = [r for r in reports.stages if r.position.stage is Stage.RESOLVE]
    return [(r.seconds, r.reward_parts[CONSENSUS]) for r in resolved if CONSENSUS in r.reward_parts]


def _answers_right(reports: Reports) -> list[Point]:
    answered = [r for r in reports.stages if r.position.stage is Stage.ANSWER]
    return [(report.seconds, report.correct_rate) for report in answered]


def _held_out(reports: Reports) -> list[Point]:
    return [(report.seconds, report.accuracy) for report in reports.held_out]


def _losses(reports: Reports) -> list[Point]:
    return [(report.seconds, report.loss) for report in reports.stages]


def _lengths(reports: Reports) -> list[Point]:
    return [(report.seconds, report.completion_length) for report in reports.stages]


PANELS: tuple[tuple[str, Callable[[Reports], Sequence[Point]]], ...] = (
    ("reward/total, mean of each round", _round_rewards),
    ("reward/consensus_correctness", _consensus),
    ("answer/correct_rate, sampled", _answers_right),
    ("held_out/accuracy, greedy", _held_out),
    ("train/loss, each stage", _losses),
    ("completion/length, each stage, in tokens", _lengths),
)
"""Title and points of each panel, row by row."""
