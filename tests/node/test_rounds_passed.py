"""Nodes that skip rounds, come too late, or are stopped at the end of one; in one process."""

import pytest

from jaxswarm.errors import InputError
from jaxswarm.learner.checkpoint import Checkpointer
from jaxswarm.node import evaluations
from jaxswarm.node.node import Node
from jaxswarm.records import STAGES, Position, StageOutput
from jaxswarm.report.journal import JOURNAL_FILE
from jaxswarm.swarm.local_exchange import Hub, LocalExchange
from tests.node.playing import after_publishing, config_of, one_device, play, reports

__all__ = ["one_device"]


def two_others(hub: Hub, position: Position) -> list[LocalExchange]:
    others = [LocalExchange(hub, name) for name in ("ben", "cat")]
    for other in others:
        other.announce(position, published=False)
    return others


def test_a_node_that_skips_every_second_round_is_saved_and_measured_as_often(tmp_path):
    config = config_of(tmp_path, rounds=5)
    config.output.checkpoint_stages, config.output.keep_checkpoints = 2 * len(STAGES), 9
    config.evaluation.every_rounds = 2
    config.swarm.stage_deadline_s = 0.1
    hub = Hub()
    others, exchange = two_others(hub, Position(0, 0)), LocalExchange(hub, "ann")

    def two_ahead(output: StageOutput) -> None:
        position = output.position.next()
        for other in others:
            ahead = position.round + (position.stage_index == 0)
            other.announce(Position(ahead, position.stage_index), published=False)

    after_publishing(exchange, two_ahead)
    assert play(config, exchange)

    told = reports(tmp_path)
    assert sorted({report.position.round for report in told.stages}) == [0, 2, 4]
    assert [report.rounds for report in told.held_out] == [0, 3, 5]
    steps = sorted(int(path.name) for path in (tmp_path / "checkpoints").glob("[0-9]*"))
    assert steps == [rounds * len(STAGES) for rounds in (3, 5)]


def test_a_node_whose_rounds_the_swarm_has_behind_it_does_not_say_that_they_are_done(tmp_path):
    config = config_of(tmp_path, rounds=2)
    config.evaluation.questions = 0
    hub = Hub()
    two_others(hub, Position(9, 0))
    with pytest.raises(
        InputError,
        match=r"rounds: got 2; expected more than 9: .* is 10; .*--config\.rounds",
    ):
        play(config, LocalExchange(hub, "ann"))
    assert not list((tmp_path / "checkpoints").glob("[0-9]*"))


@pytest.mark.faults
def test_a_node_that_the_swarm_leaves_behind_plays_its_last_rounds_alone(tmp_path, capfd):
    config = config_of(tmp_path, rounds=5)
    config.evaluation.questions = 0
    config.output.checkpoint_stages = 99
    hub = Hub()
    others, exchange = two_others(hub, Position(0, 0)), LocalExchange(hub, "ann")

    def far_ahead(output: StageOutput) -> None:
        for other in others:
            at = Position(9, 0) if output.position == Position(1, 0) else output.position.next()
            other.announce(at, published=False)

    after_publishing(exchange, far_ahead)
    assert play(config, exchange)
    played = [report.position for report in reports(tmp_path).stages]
    assert played == [Position(r, s) for r in range(5) for s in range(len(STAGES))]
    said = "the next round of the swarm is 10, this node's last is 5: going on alone"
    assert capfd.readouterr().out.count(said) == 1


@pytest.mark.faults
def test_a_newcomer_that_waits_for_a_round_and_is_then_left_behind_claims_no_end(tmp_path):
    config = config_of(tmp_path, rounds=5)
    config.evaluation.questions = 0
    hub = Hub()
    others, exchange = two_others(hub, Position(3, 1)), LocalExchange(hub, "ann")

    def run_away(*_) -> None:
        for other in others:
            other.announce(Position(5, 0), published=True)

    exchange.wait_for = run_away
    with pytest.raises(InputError, match=r"rounds: got 5; expected more than 6"):
        play(config, exchange)


@pytest.mark.faults
@pytest.mark.parametrize("at", [Position(9, 0), Position(0, 1)], ids=str)
def test_a_run_that_is_over_is_over_wherever_the_swarm_is(tmp_path, at):
    """Also after a kill between its last save and the end of its last evaluation."""
    config = config_of(tmp_path, rounds=1)
    assert play(config, LocalExchange(Hub(), "ann"))
    held_out = reports(tmp_path).held_out
    journal = (tmp_path / JOURNAL_FILE).read_text()
    hub = Hub()
    two_others(hub, at)
    assert play(config, LocalExchange(hub, "ann"))
    assert (tmp_path / JOURNAL_FILE).read_text() == journal
    assert [report.rounds for report in reports(tmp_path).held_out] == [0, 1]
    assert reports(tmp_path).held_out == held_out


@pytest.mark.faults
def test_what_ends_a_node_in_mid_stage_costs_nothing_that_it_has_learnt(tmp_path):
    config = config_of(tmp_path, rounds=2)
    config.evaluation.questions = 0
    config.output.checkpoint_stages = 99
    exchange = LocalExchange(Hub(), "ann")
    gather = exchange.gather

    def fail_at_the_fourth(position, *rest):
        if position == Position(1, 0):
            raise InputError("the swarm", got="this", expected="that", remedy="so")
        return gather(position, *rest)

    exchange.gather = fail_at_the_fourth
    with pytest.raises(InputError, match="the swarm: got 'this'"):
        play(config, exchange)

    learnt = []

    def noting(output: StageOutput) -> None:
        learnt.append(output.position)

    again = LocalExchange(Hub(), "ann")
    after_publishing(again, noting)
    assert play(config, again)
    assert learnt == [Position(1, 1), Position(1, 2)], "the stage that it had learnt from is kept"


def test_a_save_that_fails_is_not_tried_again(tmp_path, monkeypatch):
    tried = []

    def full(_, step: int, *__) -> None:
        tried.append(step)
        raise InputError("the disk", got="full", expected="room", remedy="make some")

    monkeypatch.setattr(Checkpointer, "save", full)
    config = config_of(tmp_path, rounds=1)
    config.evaluation.questions = 0
    with pytest.raises(InputError, match="the disk: got 'full'"):
        play(config, LocalExchange(Hub(), "ann"))
    assert tried == [1]


def test_a_node_that_is_stopped_while_it_measures_a_round_has_it_saved_and_measures_it_later(
    tmp_path, monkeypatch
):
    config = config_of(tmp_path, rounds=2)
    config.evaluation.every_rounds, config.evaluation.batch = 1, 4
    config.output.checkpoint_stages = 99
    nodes, measured = [], []
    run, evaluate = Node.run, evaluations.evaluate

    def noting(node: Node) -> bool:
        nodes.append(node)
        return run(node)

    def stopping(*arguments):
        measured.append(arguments)
        if len(measured) == 2:
            nodes[0].stop()
        return evaluate(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Node, "run", noting)
        patch.setattr(evaluations, "evaluate", stopping)
        assert not play(config, LocalExchange(Hub(), "solo"))
    assert [report.rounds for report in reports(tmp_path).held_out] == [0]
    steps = [int(path.name) for path in (tmp_path / "checkpoints").glob("[0-9]*")]
    assert steps == [len(STAGES)]

    assert play(config, LocalExchange(Hub(), "solo"))
    assert [report.rounds for report in reports(tmp_path).held_out] == [0, 1, 2]


def test_nobody_waits_for_a_node_that_only_measures_itself(tmp_path, monkeypatch):
    hub, heard = Hub(), []
    evaluate = evaluations.evaluate

    def hearing(*arguments):
        heard.append([member.peer for member in hub.others("ben")[0]])
        return evaluate(*arguments)

    monkeypatch.setattr(evaluations, "evaluate", hearing)
    config = config_of(tmp_path, rounds=2)
    config.evaluation.every_rounds = 1
    assert play(config, LocalExchange(hub, "ann"))
    assert heard == [[], ["ann"], []], "before the first round, the second, and at the end"


def test_a_node_that_is_to_stop_begins_no_evaluation(tmp_path):
    config = config_of(tmp_path, rounds=1)
    assert play(config, LocalExchange(Hub(), "solo"), stages=len(STAGES))
    assert [report.rounds for report in reports(tmp_path).held_out] == [0]
    assert play(config, LocalExchange(Hub(), "solo"))
    assert [report.rounds for report in reports(tmp_path).held_out] == [0, 1]
