"""A process that tells of itself as a node does, without a model. The launcher's tests start it.

`--config.act=INDEX:ACT` makes the node of that index act: `die` (in its second round), `late` (for
3 s it doesn't say how to join it), `die_first` (before it says so), `refuse` (it can't use what it
was given), `deaf` (SIGTERM does not end it), or `alone` (a solo run: no address).
`--config.rounds=N` sets how many rounds all do.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from jaxswarm.host.ending import UNUSABLE
from jaxswarm.records import STAGES, Position
from jaxswarm.report.files import AppendLog
from jaxswarm.report.reports import METRICS_FILE, HeldOutReport, StageReport, read_reports, to_json
from jaxswarm.report.rundir import NodeCard
from jaxswarm.report.status import STATUS_FILE, Reading, Status, write_reading
from jaxswarm.report.summary import summarise


def main() -> None:
    flags = dict(word.removeprefix("--config").split("=", 1) for word in sys.argv[1:])
    directory = Path(flags[".output.directory"])
    index, _, act = flags.get(".act", "").partition(":")
    act = act if directory.name == f"node-{index}" else ""
    (directory / "flags.json").write_text(json.dumps(flags))
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    signal.signal(signal.SIGINT, lambda number, _: asked.append(number))

    if act == "die_first":
        sys.exit("error: no such model")
    if act == "refuse":
        print("error: grpo.group: got 1", file=sys.stderr)
        sys.exit(UNUSABLE)
    address = f"/ip4/127.0.0.1/tcp/4001/p2p/{directory.name}"
    if act == "late":
        time.sleep(3.0)
    addresses = () if act == "alone" else (address, "/ip4/192.0.2.1/tcp/4001")
    NodeCard(peer=directory.name, addresses=addresses, pid=os.getpid()).write(directory)

    log = AppendLog(directory / METRICS_FILE)
    began = time.time()
    log.append(to_json(held_out(0, 0.5)))
    rounds = int(flags.get(".rounds", "2"))
    for round_ in range(rounds):
        for stage_index in range(len(STAGES)):
            position = Position(round_, stage_index)
            say(directory, position, rounds)
            time.sleep(0.05)
            log.append(to_json(stage_report(position, time.time() - began)))
            if act == "die" and round_ == 1:
                print("error: the disk is full", file=sys.stderr)
                sys.exit(7)
            while act == "deaf":
                time.sleep(0.02)
            if asked:
                (directory / "asked.json").write_text(json.dumps(asked))
                summarise(read_reports(directory / METRICS_FILE), finished=False).write(directory)
                return
    log.append(to_json(held_out(rounds, 0.75)))
    summarise(read_reports(directory / METRICS_FILE), finished=True).write(directory)


def say(directory: Path, position: Position, rounds: int) -> None:
    status, now = status_of(directory.name, position, rounds), time.time()
    reading = Reading(status=status, pid=os.getpid(), said_at=now, phase_began_at=now)
    write_reading(directory / STATUS_FILE, reading)


def status_of(node: str, position: Position, rounds: int) -> Status:
    return Status(
        node=node,
        position=position,
        rounds=rounds,
        phase="generate",
        progress=0.5,
        eta_s=1.0,
        peers=2,
        tokens_per_s=800.0,
        reward=None,
    )


def stage_report(position: Position, seconds: float) -> StageReport:
    reward = 1.0 + position.round
    return StageReport(
        position=position,
        seconds=seconds,
        reward=reward,
        reward_parts={"consensus_correctness": reward / 2, "correctness": reward / 2},
        correct_rate=0.25 * (1 + position.round) + 0.1 * position.stage_index,
        format_rate=0.9,
        completion_length=40.0,
        truncated_share=0.1,
        loss=0.01,
        grad_norm=0.3,
        kl=None,
        clip_fraction=0.02,
        entropy=0.8,
        sampler_gap=0.001,
        learning_rate=1e-4,
        zero_variance_share=0.2,
        tokens_per_s=800.0,
        phase_seconds={"generate": 0.03, "train": 0.02},
        questions=16,
        skipped_prompts=0,
        peers=2,
        outputs_read=2,
        refused={"forged": 1},
    )


def held_out(rounds: int, accuracy: float) -> HeldOutReport:
    return HeldOutReport(
        rounds=rounds,
        seconds=float(rounds),
        questions=64,
        accuracy=accuracy,
        accuracy_sampled=None,
        format_rate=0.9,
    )


if __name__ == "__main__":
    main()
