"""Whole nodes in one process, over the in-memory exchange: the same code as over the network."""

import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs import tiny
from jaxswarm.learner.learner import Learner
from jaxswarm.node import batches
from jaxswarm.node.node import Node
from jaxswarm.records import NONE_RIGHT, STAGES, Position, Reply, StageOutput
from jaxswarm.report.journal import JOURNAL_FILE, read_journal
from jaxswarm.setup import assemble
from jaxswarm.stages.dataset import draw
from jaxswarm.swarm.local_exchange import Hub, LocalExchange
from jaxswarm.swarm.waiting import Waiting
from tests.node.playing import (
    ROUNDS,
    after_publishing,
    config_of,
    one_device,
    play,
    play_together,
    reports,
)

__all__ = ["one_device"]


def test_a_node_tells_once_where_the_time_of_a_stage_went(tmp_path, capfd):
    config = config_of(tmp_path, rounds=1)
    config.output.profile_round = 0
    assert play(config, LocalExchange(Hub(), "ann"))
    printed = capfd.readouterr()
    (line,) = re.findall(r"where the time of (.*)", printed.out + printed.err)
    assert line.startswith("round 1 answer went: prompt ")
    assert "decode" in line
    assert "backward" in line


@pytest.mark.faults
def test_a_node_that_was_cut_off_ahead_comes_back_and_publishes_nothing_twice(tmp_path):
    config = config_of(tmp_path, rounds=4)
    assert not play(config, LocalExchange(Hub(), "ann"), stages=9)
    written = (tmp_path / JOURNAL_FILE).read_text()

    # It hears two others again, who are two rounds behind, until it has come to them.
    hub, said = Hub(), []
    others = [LocalExchange(hub, name) for name in ("ben", "cat")]
    for other in others:
        other.announce(Position(1, 0), published=False)
    exchange = LocalExchange(hub, "ann")

    def go_with_it(output: StageOutput) -> None:
        said.append(output)
        for other in others:
            other.announce(output.position.next(), published=False)

    after_publishing(exchange, go_with_it)
    config.swarm.stage_deadline_s = 0.1
    assert play(config, exchange)

    assert [output.position for output in said] == [
        Position(round_, index) for round_ in (1, 2, 3) for index in range(len(STAGES))
    ]
    kept = read_journal(tmp_path / JOURNAL_FILE, own="ann", since=Position(0, 0))
    assert (tmp_path / JOURNAL_FILE).read_text().startswith(written)
    assert {output.position: output for output in said}.items() <= kept.published.items()
    assert (tmp_path / JOURNAL_FILE).read_text().count('"published"') == 4 * len(STAGES)
    positions = [report.position for report in reports(tmp_path).stages]
    assert positions == sorted(set(positions)), "no stage is counted twice"


@pytest.mark.faults
def test_an_answer_that_comes_too_late_is_shown_where_it_still_can_be(tmp_path, monkeypatch):
    shown = []
    fit = batches.fit

    def note(tokenizer, messages, *rest):
        shown.append(str(messages))
        return fit(tokenizer, messages, *rest)

    monkeypatch.setattr(batches, "fit", note)
    config = config_of(tmp_path, rounds=1)
    config.evaluation.questions = 0
    config.swarm.stage_deadline_s = 1.0
    hub = Hub()
    slow, exchange = LocalExchange(hub, "slow"), LocalExchange(hub, "ann")
    slow.announce(Position(0, 0), published=False)
    question = draw(assemble.data(config).train, config.swarm.seed, 0, 4)[0].id

    def late_by_a_stage(output: StageOutput) -> None:
        at = Position(0, output.position.stage_index - 1)
        if output.position.stage_index > 0:
            reply = Reply(question, f"late {at.stage}", NONE_RIGHT)
            slow.publish(StageOutput("slow", at, (reply,)))
            slow.announce(at, published=True)

    after_publishing(exchange, late_by_a_stage)
    assert play(config, exchange)

    answer, critique, resolve = reports(tmp_path).stages
    assert [report.missing for report in (answer, critique, resolve)] == [1, 1, 1]
    assert (critique.late_used, critique.late_unused) == (1, 0)
    assert (resolve.late_used, resolve.late_unused) == (0, 1)
    assert ["late answer" in messages for messages in shown] == [False, False, True]
    kept = read_journal(tmp_path / JOURNAL_FILE, own="ann", since=Position(0, 0))
    assert not kept.received
    assert kept.late.keys() == {Position(0, 1), Position(0, 2)}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A solo run, uninterrupted."""
    directory = tmp_path_factory.mktemp("alone")
    assert play(config_of(directory), LocalExchange(Hub(), "solo"))
    return directory


def test_a_solo_node_plays_all_stages_and_learns_from_its_own_texts(alone):
    told = reports(alone)
    assert [report.position for report in told.stages] == [
        Position(round_, index) for round_ in range(ROUNDS) for index in range(len(STAGES))
    ]
    assert [report.rounds for report in told.held_out] == [0, ROUNDS]
    assert all(report.grad_norm > 0 for report in told.stages)
    assert all(report.peers == report.outputs_read == 0 for report in told.stages)
    # Each stage's parts add up to its reward, and the sampler agrees with the learner.
    for report in told.stages:
        np.testing.assert_allclose(sum(report.reward_parts.values()), report.reward, rtol=1e-6)
        assert report.sampler_gap < 1e-3


def test_its_journal_holds_one_output_for_each_stage(alone):
    kept = read_journal(alone / JOURNAL_FILE, own="solo", since=Position(0, 0))
    assert len(kept.published) == ROUNDS * len(STAGES)
    assert all(len(output.replies) == 4 for output in kept.published.values())


@pytest.mark.parametrize("stages", [2, 4])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(alone, tmp_path, stages):
    assert not play(config_of(tmp_path), LocalExchange(Hub(), "solo"), stages=stages)
    assert len(reports(tmp_path).stages) == stages
    assert play(config_of(tmp_path), LocalExchange(Hub(), "solo"))
    whole, pieces = reports(alone).stages, reports(tmp_path).stages
    assert [report.position for report in pieces] == [report.position for report in whole]
    for report, expected in zip(pieces, whole, strict=True):
        np.testing.assert_allclose(report.reward, expected.reward, rtol=1e-6)
        np.testing.assert_allclose(report.loss, expected.loss, rtol=1e-4, atol=1e-6)
    since = Position(0, 0)
    assert (
        read_journal(tmp_path / JOURNAL_FILE, own="solo", since=since).published
        == read_journal(alone / JOURNAL_FILE, own="solo", since=since).published
    )


def test_asked_to_stop_while_it_waits_for_its_swarm_it_saves_what_it_has_learnt(
    tmp_path, monkeypatch
):
    def stop(node: Node, waiting: Waiting) -> bool:  # noqa: ARG001
        node.stop()
        return False

    monkeypatch.setattr(Node, "_wait", stop)
    config = config_of(tmp_path, rounds=9)
    config.evaluation.questions = 0
    config.output.checkpoint_stages = 9
    hub = Hub()
    ben, exchange = LocalExchange(hub, "ben"), LocalExchange(hub, "ann")
    after_publishing(exchange, lambda _: ben.announce(Position(3, 0), published=True))
    assert not play(config, exchange)
    assert len(reports(tmp_path).stages) == 1
    steps = [int(path.name) for path in (tmp_path / "checkpoints").glob("[0-9]*")]
    assert steps == [4 * len(STAGES)], "where it goes on: at the start of the round after ben's"


def test_two_nodes_learn_from_each_other(tmp_path):
    names = ("ann", "ben")
    configs = {name: config_of(tmp_path / name, seed=i) for i, name in enumerate(names)}
    ended = play_together(configs)
    assert ended == {"ann": True, "ben": True}
    kept = {
        name: read_journal(tmp_path / name / JOURNAL_FILE, own=name, since=Position(0, 0))
        for name in names
    }
    for name, other in zip(names, reversed(names), strict=True):
        assert all(report.outputs_read == 1 for report in reports(tmp_path / name).stages)
        received = {at: outputs[0] for at, outputs in kept[name].received.items()}
        assert received == kept[other].published
    # Other seeds, other answers.
    assert (
        kept["ann"].published[Position(0, 0)].replies
        != kept["ben"].published[Position(0, 0)].replies
    )


def beside_a_slow_peer(
    directory: Path, monkeypatch: pytest.MonkeyPatch, *, train: bool, until_steps: int
) -> int:
    """Plays a round, the second stage of which a slow peer holds up. How many steps were learnt.

    The peer publishes a second after the node has learnt so many.
    """
    hub, steps = Hub(), []
    slow, exchange = LocalExchange(hub, "slow"), LocalExchange(hub, "ann")
    step, critique = Learner.step, Position(0, 1)

    def publish_at_last() -> None:
        slow.publish(StageOutput("slow", critique, ()))
        slow.announce(critique, published=True)

    timer = threading.Timer(1.0, publish_at_last)

    def counting(learner: Learner, batch: Any) -> Any:
        steps.append(batch)
        if len(steps) == until_steps:
            timer.start()
        return step(learner, batch)

    monkeypatch.setattr(Learner, "step", counting)
    config = config_of(directory, rounds=1)
    config.evaluation.questions = 0
    config.swarm.train_while_waiting = train

    def go_with_it(output: StageOutput) -> None:
        if output.position == Position(0, 0):
            slow.announce(critique, published=False)

    after_publishing(exchange, go_with_it)
    slow.publish(StageOutput("slow", Position(0, 0), ()))
    slow.announce(Position(0, 0), published=False)
    assert play(config, exchange, stages=3)
    timer.join()

    assert [report.outputs_read for report in reports(directory).stages[:2]] == [1, 1]
    assert (directory / JOURNAL_FILE).read_text().count('"published"') == len(STAGES)
    return len(steps)


@pytest.mark.faults
def test_a_fast_node_can_be_told_to_train_on_while_it_waits(tmp_path, monkeypatch) -> None:
    assert beside_a_slow_peer(tmp_path, monkeypatch, train=True, until_steps=4) >= 5


@pytest.mark.faults
@pytest.mark.slow
def test_by_default_it_learns_from_the_round_s_questions_alone(tmp_path, monkeypatch) -> None:
    assert beside_a_slow_peer(tmp_path, monkeypatch, train=False, until_steps=2) == 3


def cut_off(exchange: LocalExchange, at: Position) -> None:
    """The node dies when it has gathered there: nothing is saved that was not saved by then."""
    gather = exchange.gather

    def dying(position: Position, *arguments: Any) -> Any:
        gathered = gather(position, *arguments)
        if position == at:
            raise _KilledError
        return gathered

    exchange.gather = dying


class _KilledError(BaseException):
    """Nothing in a node catches it, as nothing catches SIGKILL."""


def beside_ben(hub: Hub, text: str) -> LocalExchange:
    """A node's exchange, with a peer that has said this at every stage and goes with the node."""
    ben, exchange = LocalExchange(hub, "ben"), LocalExchange(hub, "ann")
    announce = exchange.announce

    def go_with_it(position: Position, published: bool) -> None:
        question = draw(assemble.data(tiny.get_config()).train, 0, position.round, 4)[0]
        reply = Reply(question.id, f"{text} {position.stage}", NONE_RIGHT)
        ben.publish(StageOutput("ben", position, (reply,)))
        ben.announce(position, published=True)
        announce(position, published)

    exchange.announce = go_with_it
    return exchange


@pytest.mark.faults
@pytest.mark.slow
def test_after_a_kill_the_same_received_texts_give_the_same_updates(tmp_path) -> None:
    """Ben says something else the second time: what was read of him before the kill stays."""
    whole, killed = (config_of(tmp_path / name, rounds=1) for name in ("whole", "killed"))
    for config in (whole, killed):
        config.evaluation.questions = 0
        config.output.checkpoint_stages = 3
    assert play(whole, beside_ben(Hub(), "before"))

    exchange = beside_ben(Hub(), "before")
    cut_off(exchange, Position(0, 2))
    with pytest.raises(_KilledError):
        play(killed, exchange)
    assert play(killed, beside_ben(Hub(), "after"))

    pieces = {report.position: report for report in reports(tmp_path / "killed").stages}
    for report in reports(tmp_path / "whole").stages:
        again = pieces.pop(report.position)
        assert (again.outputs_read, report.outputs_read) == (1, 1)
        np.testing.assert_allclose(again.reward, report.reward, rtol=1e-6)
        np.testing.assert_allclose(again.loss, report.loss, rtol=1e-4, atol=1e-6)
    assert not pieces
    journals = [
        read_journal(tmp_path / name / JOURNAL_FILE, own="ann", since=Position(0, 0))
        for name in ("whole", "killed")
    ]
    assert journals[0].published == journals[1].published
    for at in (Position(0, 0), Position(0, 1)):
        assert journals[0].received[at] == journals[1].received[at]
