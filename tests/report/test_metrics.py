import contextlib
import math
import os
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

from jaxswarm.errors import InputError
from jaxswarm.records import Position
from jaxswarm.report.metrics import MetricsWriter, scalars
from jaxswarm.report.reports import METRICS_FILE, HeldOutReport, StageReport, read_reports
from tests.launch.stand_in_node import held_out, stage_report
from tests.report.test_files import FULL, needs_full

RESOLVE = replace(stage_report(Position(4, 2), 125.9), kl=0.03)

THE_FOUR_PLOTS = {
    "reward/consensus_correctness",
    "reward/total",
    "train/loss",
    "completion/length",
}


def events(directory: Path) -> Iterator[Event]:
    """All events in a directory, file by file in the order of their names.

    A TFRecord is length (uint64, little-endian), its CRC, the data, and the data's CRC.
    """
    for path in sorted(directory.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        start = 0
        while start < len(data):
            (length,) = struct.unpack_from("<Q", data, start)
            yield Event.FromString(data[start + 12 : start + 12 + length])
            start += 12 + length + 4


def points(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of each curve."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for event in events(directory):
        for value in event.summary.value:
            curves.setdefault(value.tag, []).append((event.step, value.simple_value))
    return curves


def write(directory: Path, *reports: StageReport | HeldOutReport) -> MetricsWriter:
    writer = MetricsWriter(directory)
    for report in reports:
        writer.write(report)
    writer.close()
    return writer


def test_the_four_plots_stand_over_whole_seconds_since_the_node_joined(tmp_path: Path):
    write(tmp_path, replace(RESOLVE, position=Position(4, 1), seconds=99.2), RESOLVE)
    curves = points(tmp_path)
    assert curves["reward/total"] == [(99, 5.0), (125, 5.0)]
    assert curves["reward/consensus_correctness"] == [(125, 2.5)]
    assert curves["train/loss"] == [(99, pytest.approx(0.01)), (125, pytest.approx(0.01))]
    assert curves["completion/length"] == [(99, 40.0), (125, 40.0)]


def test_every_figure_of_the_house_has_its_curve_for_each_stage():
    assert set(scalars(RESOLVE)) == THE_FOUR_PLOTS | {
        "resolve/reward/total",
        "resolve/reward/consensus_correctness",
        "resolve/reward/correctness",
        "resolve/correct_rate",
        "resolve/format_rate",
        "resolve/completion_length",
        "resolve/truncated_share",
        "resolve/loss",
        "resolve/grad_norm",
        "resolve/kl",
        "resolve/clip_fraction",
        "resolve/entropy",
        "resolve/sampler_gap",
        "resolve/learning_rate",
        "resolve/zero_variance_share",
        "resolve/tokens_per_s",
        "resolve/step_seconds",
        "resolve/seconds/generate",
        "resolve/seconds/train",
        "resolve/questions",
        "resolve/skipped_prompts",
        "swarm/peers",
        "swarm/outputs_read",
        "swarm/missing",
        "swarm/late_used",
        "swarm/external",
        "swarm/late_unused",
        "swarm/refused",
        "swarm/refused/forged",
    }


def test_only_the_resolve_stage_speaks_of_consensus():
    answer = scalars(replace(RESOLVE, position=Position(4, 0)))
    assert "reward/consensus_correctness" not in answer
    assert "answer/reward/total" in answer


def test_a_run_without_a_reference_has_no_kl_curve():
    assert "resolve/kl" not in scalars(replace(RESOLVE, kl=None))


def test_step_time_is_the_sum_of_the_phases_and_refusals_of_their_reasons():
    report = replace(
        RESOLVE, phase_seconds={"generate": 2.0, "train": 3.5}, refused={"forged": 2, "size": 1}
    )
    values = scalars(report)
    assert values["resolve/step_seconds"] == 5.5
    assert values["swarm/refused"] == 3
    assert values["swarm/refused/size"] == 1


def test_held_out_accuracy_is_a_curve_and_sampled_accuracy_where_it_was_drawn(tmp_path: Path):
    write(tmp_path, held_out(0, 0.25), replace(held_out(7, 0.5), accuracy_sampled=0.4))
    curves = points(tmp_path)
    assert curves["held_out/accuracy"] == [(0, 0.25), (7, 0.5)]
    assert curves["held_out/accuracy_sampled"] == [(7, pytest.approx(0.4))]
    assert curves["held_out/format_rate"] == [(0, pytest.approx(0.9)), (7, pytest.approx(0.9))]


def test_reports_are_read_back_from_the_lines_as_they_were(tmp_path: Path):
    later = replace(RESOLVE, position=Position(5, 0), kl=None)
    written = write(tmp_path, held_out(0, 0.25), RESOLVE, later)
    assert written.resumed_at_s == 0.0
    reports = read_reports(tmp_path / METRICS_FILE)
    assert reports.stages == (RESOLVE, later)
    assert reports.held_out == (held_out(0, 0.25),)
    assert reports.unreadable == 0


def test_what_was_played_again_after_a_kill_counts_once(tmp_path: Path):
    stages = [replace(RESOLVE, position=Position(4, index)) for index in range(3)]
    again = [replace(report, reward=3.0) for report in stages[1:]]
    write(tmp_path, *stages, held_out(5, 0.2), *again, held_out(5, 0.3))
    reports = read_reports(tmp_path / METRICS_FILE)
    assert reports.stages == (stages[0], *again)
    assert reports.held_out == (held_out(5, 0.3),)


def test_a_report_is_in_both_files_before_the_writer_is_closed(tmp_path: Path):
    writer = MetricsWriter(tmp_path)
    writer.write(RESOLVE)
    assert points(tmp_path)["reward/total"] == [(125, 5.0)]
    assert len(read_reports(tmp_path / METRICS_FILE).stages) == 1
    writer.close()


def test_a_resumed_node_adds_to_its_curves_and_x_goes_on(tmp_path: Path):
    write(tmp_path, RESOLVE)
    resumed = MetricsWriter(tmp_path)
    assert resumed.resumed_at_s == 125.9
    resumed.write(replace(RESOLVE, position=Position(5, 0), seconds=resumed.resumed_at_s + 10))
    resumed.close()
    assert [step for step, _ in points(tmp_path)["reward/total"]] == [125, 135]
    assert len(read_reports(tmp_path / METRICS_FILE).stages) == 2


def test_a_loss_that_is_no_number_survives_both_files(tmp_path: Path):
    write(tmp_path, replace(RESOLVE, loss=math.nan, grad_norm=math.inf))
    (_, loss), *_ = points(tmp_path)["train/loss"]
    assert math.isnan(loss)
    (report,) = read_reports(tmp_path / METRICS_FILE).stages
    assert math.isnan(report.loss)
    assert report.grad_norm == math.inf


@pytest.mark.parametrize(
    "line",
    [
        '{"kind": "stage", "round": 1',
        '{"kind": "stage", "round": 1, "stage": "dance"}',
        '{"kind": "stage", "round": 1, "stage": "answer", "reward": 1.0}',
        '{"kind": "held_out", "from_the_future": 1}',
        '{"seconds": 3}',
    ],
)
def test_a_line_that_is_no_report_is_counted_and_the_others_are_read(tmp_path: Path, line: str):
    write(tmp_path, RESOLVE)
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write(line + "\n")
    reports = read_reports(tmp_path / METRICS_FILE)
    assert (reports.stages, reports.unreadable) == ((RESOLVE,), 1)


@needs_full
def test_a_disk_that_fills_up_under_the_curves_is_what_ends_the_run(tmp_path: Path):
    writer = MetricsWriter(tmp_path)
    (path,) = tmp_path.glob("events.out.tfevents.*")
    (opened,) = (int(fd) for fd in os.listdir("/dev/fd") if leads_to(fd, path))
    full, kept = os.open(FULL, os.O_WRONLY), os.dup(opened)
    os.dup2(full, opened)
    with (
        pytest.raises(InputError, match=r"got 'No space left.*free some space"),
        contextlib.closing(writer),
    ):
        writer.write(RESOLVE)
    os.dup2(kept, opened)  # what the library still holds finds room when it goes
    for fd in (full, kept):
        os.close(fd)


def leads_to(fd: str, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):  # of the listing itself
        return os.path.samefile(f"/dev/fd/{fd}", path)
    return False
