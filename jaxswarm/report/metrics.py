"""A node's figures as TensorBoard curves and as JSON lines. Host side only.

x is the time since the node joined the swarm: an event's step is that time in whole seconds, so
that TensorBoard's "Step" axis reads in seconds; its "Wall" axis shows the time of day.
"""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

from jaxswarm.records import Stage
from jaxswarm.report.files import AppendLog, unwritable
from jaxswarm.report.reports import (
    CONSENSUS,
    METRICS_FILE,
    HeldOutReport,
    StageReport,
    read_reports,
    to_json,
)


class MetricsWriter:
    """Writes each report to TensorBoard's event file and to `metrics.jsonl`, at once and in order.

    The same directory again (a resumed node) continues both: lines are appended, and events go to
    one more file, which TensorBoard joins to the curves.
    """

    def __init__(self, directory: Path):
        """Opens the files in `directory`, which is made if missing.

        Raises:
          InputError: they can't be written.
        """
        self._directory = directory
        reports = read_reports(directory / METRICS_FILE)
        self.resumed_at_s = max(
            (report.seconds for report in (*reports.stages, *reports.held_out)), default=0.0
        )
        """Seconds of the last report that is there, 0.0 in a fresh directory: where x goes on."""
        self.measured_rounds = frozenset(report.rounds for report in reports.held_out)
        """Those with a held-out report that is there."""
        self._lines = AppendLog(directory / METRICS_FILE)
        try:
            # Not SummaryWriter: its thread dies of a full disk in silence, and then its queue
            # blocks the node for good. The suffix keeps two starts within a second apart.
            self._events = EventsWriter(str(directory / "events"), f".{time.time_ns()}")
        except OSError as error:
            raise unwritable(directory, error) from error

    def write(self, report: StageReport | HeldOutReport) -> None:
        """Records one report; it is in the files when this returns.

        Raises:
          InputError: the disk is full or can't be written.
        """
        self._lines.append(to_json(report))
        values = [Summary.Value(tag=tag, simple_value=y) for tag, y in scalars(report).items()]
        event = Event(
            wall_time=time.time(), step=int(report.seconds), summary=Summary(value=values)
        )
        try:
            self._events.write_event(event)
            self._events.flush()
        except OSError as error:
            raise unwritable(self._directory, error) from error

    def close(self) -> None:
        self._lines.close()
        with contextlib.suppress(OSError):  # what is still pending is what `write` has told of
            self._events.close()


def scalars(report: StageReport | HeldOutReport) -> dict[str, float]:
    """The curves' tags and this report's value for each."""
    if isinstance(report, HeldOutReport):
        return _held_out_scalars(report)
    return _overall_scalars(report) | _stage_scalars(report) | _swarm_scalars(report)


def _overall_scalars(report: StageReport) -> dict[str, float]:
    """The published system's four plots. Every stage adds a point, hence their cycles."""
    values = {
        "reward/total": report.reward,
        "train/loss": report.loss,
        "completion/length": report.completion_length,
    }
    if report.position.stage is Stage.RESOLVE and CONSENSUS in report.reward_parts:
        values["reward/consensus_correctness"] = report.reward_parts[CONSENSUS]
    return values


def _stage_scalars(report: StageReport) -> dict[str, float]:
    values = {
        "reward/total": report.reward,
        "correct_rate": report.correct_rate,
        "format_rate": report.format_rate,
        "completion_length": report.completion_length,
        "truncated_share": report.truncated_share,
        "loss": report.loss,
        "grad_norm": report.grad_norm,
        "clip_fraction": report.clip_fraction,
        "entropy": report.entropy,
        "sampler_gap": report.sampler_gap,
        "learning_rate": report.learning_rate,
        "zero_variance_share": report.zero_variance_share,
        "tokens_per_s": report.tokens_per_s,
        "step_seconds": sum(report.phase_seconds.values()),
        "questions": report.questions,
        "skipped_prompts": report.skipped_prompts,
    }
    if report.kl is not None:
        values["kl"] = report.kl
    values |= _under("reward", report.reward_parts)
    values |= _under("seconds", report.phase_seconds)
    return _under(report.position.stage, values)


def _swarm_scalars(report: StageReport) -> dict[str, float]:
    values = {
        "peers": report.peers,
        "outputs_read": report.outputs_read,
        "missing": report.missing,
        "late_used": report.late_used,
        "late_unused": report.late_unused,
        "external": report.external,
        "refused": sum(report.refused.values()),
    }
    return _under("swarm", values | _under("refused", report.refused))


def _held_out_scalars(report: HeldOutReport) -> dict[str, float]:
    values = {"accuracy": report.accuracy, "format_rate": report.format_rate}
    if report.accuracy_sampled is not None:
        values["accuracy_sampled"] = report.accuracy_sampled
    return _under("held_out", values)


def _under(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": float(value) for name, value in values.items()}
