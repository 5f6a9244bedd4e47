"""Nodes that share rollouts, in one process: the same code as over the network."""

import json
from pathlib import Path

import numpy as np
import pytest

from configs import tiny
from jaxswarm.learner import grpo
from jaxswarm.learner.learner import Learner
from jaxswarm.node import trade
from jaxswarm.node.trade import Trade
from jaxswarm.records import Position, Reply, StageOutput
from jaxswarm.report.journal import JOURNAL_FILE, JournalState, read_journal
from jaxswarm.setup import assemble
from jaxswarm.swarm.local_exchange import Hub, LocalExchange
from tests.node.playing import after_publishing, config_of, one_device, play, play_together, reports

__all__ = ["one_device"]

TRAIN = assemble.data(tiny.get_config()).train
EXTERNAL = 2


def sharing(directory: Path, **changes):
    config = config_of(directory, **changes)
    config.swarm.mode = "sharing"
    config.swarm.external = EXTERNAL
    config.evaluation.questions = 0
    return config


def journal(directory: Path, peer: str) -> JournalState:
    return read_journal(directory / JOURNAL_FILE, own=peer, since=Position(0, 0))


def offered(directory: Path) -> list[tuple[str, Position, list[str]]]:
    """What stands in the journal of peers' outputs: peer, position and texts."""
    lines = map(json.loads, (directory / JOURNAL_FILE).read_text().splitlines())
    return [
        (line["peer"], Position(line["round"], 0), [reply["text"] for reply in line["replies"]])
        for line in lines
        if line["kind"] == "offered"
    ]


def asked(directory: Path, peer: str) -> list[list[str]]:
    """The questions of each round."""
    published = journal(directory, peer).published
    return [
        list(dict.fromkeys(reply.question_id for reply in published[at].replies))
        for at in sorted(published)
    ]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list:
    """What nodes learn from, as they do it."""
    seen, step = [], Learner.step

    def noting(learner, batch):
        seen.append(batch)
        return step(learner, batch)

    monkeypatch.setattr(Learner, "step", noting)
    return seen


def beside_ben(*replies: Reply) -> LocalExchange:
    """A node's exchange, with a peer that has published these replies and is busy for ever."""
    hub = Hub()
    ben = LocalExchange(hub, "ben")
    ben.publish(StageOutput("ben", Position(7, 0), replies))
    ben.announce(Position(8, 0), published=False)
    return LocalExchange(hub, "ann")


def test_it_learns_from_a_peer_s_completions_in_its_own_group_and_waits_for_nobody(
    tmp_path, batches
):
    good, bad = f"<think></think><answer>{TRAIN[0].gold}</answer>", "<answer>no</answer>"
    exchange = beside_ben(*(Reply(TRAIN[0].id, text) for text in (good, bad, good)))
    config = sharing(tmp_path, rounds=2)
    config.swarm.stage_deadline_s = 36_000.0
    assert play(config, exchange)

    first, second = reports(tmp_path).stages
    assert [first.position, second.position] == [Position(0, 0), Position(1, 0)]
    assert (first.outputs_read, first.external) == (1, EXTERNAL)
    assert (second.outputs_read, second.external) == (0, 0), "what was read is not read again"
    assert asked(tmp_path, "ann")[0][0] == TRAIN[0].id
    assert offered(tmp_path) == [("ben", Position(7, 0), [good, bad])], "as many as it takes"
    assert journal(tmp_path, "ann").heard == frozenset(), "no restart reads it into memory"

    external = np.zeros_like(batches[0].external_QxG)
    external[0, -EXTERNAL:] = True
    np.testing.assert_array_equal(batches[0].external_QxG, external)
    tokens = assemble.tokenizer(assemble.model_source(config)).encode_completions([good, bad])
    rewards = []
    for row, length, reward in zip(
        np.asarray(batches[0].token_QxGxC)[0, -EXTERNAL:],
        np.asarray(batches[0].length_QxG)[0, -EXTERNAL:],
        batches[0].reward_QxG[0, -EXTERNAL:],
        strict=True,
    ):
        assert row[:length].tolist() in tokens
        rewards.append((row[:length].tolist() == tokens[0], float(reward)))
    assert all(reward == (3.5 if is_good else pytest.approx(0.25)) for is_good, reward in rewards)

    advantage = grpo.advantages(batches[0].reward_QxG, "group")
    teaches = np.asarray(grpo.teaches(batches[0].external_QxG, advantage))
    assert teaches[0, -EXTERNAL:].tolist() == [is_good for is_good, _ in rewards]
    assert teaches[0, :-EXTERNAL].all()


def test_completions_that_were_cut_are_given_to_nobody(tmp_path):
    config = sharing(tmp_path, rounds=1)
    config.generation.limit = 4
    assert play(config, LocalExchange(Hub(), "ann"))
    (report,) = reports(tmp_path).stages
    assert report.truncated_share == 1
    (output,) = journal(tmp_path, "ann").published.values()
    assert output.replies == ()


def test_a_question_may_be_followed_again_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(trade, "OF_LATE", 8 / len(TRAIN))
    hub = Hub()
    ben, exchange = LocalExchange(hub, "ben"), LocalExchange(hub, "ann")
    offered = tuple(Reply(question.id, "<answer>1</answer>") for question in TRAIN[:2])

    def offer_again(output: StageOutput) -> None:
        at = Position(output.position.round, 0)
        ben.publish(StageOutput("ben", at, offered))
        ben.announce(at, published=True)

    after_publishing(exchange, offer_again)
    ids, choose, followed = {reply.question_id for reply in offered}, Trade.questions, []

    def noting(self, round_index: int):
        chosen = choose(self, round_index)
        followed.append(ids <= {discussion.question.id for discussion in chosen})
        return chosen

    monkeypatch.setattr(Trade, "questions", noting)
    assert play(sharing(tmp_path, rounds=6), exchange)
    assert followed == [False, True, False, False, True, False], "after two rounds of four"


def test_a_peer_offers_no_more_questions_than_a_round_has(tmp_path):
    config = sharing(tmp_path, rounds=1)
    replies = [Reply(question.id, "<answer>1</answer>") for question in TRAIN[:7]]
    assert play(config, beside_ben(*replies, replies[0]))
    (report,) = reports(tmp_path).stages
    assert report.refused["too many"] == 7 - config.stages.questions
    ((_, _, texts),) = offered(tmp_path)
    assert len(texts) == config.stages.questions + 1


def test_what_can_not_be_learnt_from_is_refused_and_counted(tmp_path):
    texts = ("", "x" * 10_000, "one " * 40)
    replies = [Reply(TRAIN[0].id, text) for text in texts] + [Reply("0" * 16, "fine")]
    replies += [Reply(TRAIN[1].id, "<answer>1</answer>")] * (EXTERNAL + 3)
    assert play(sharing(tmp_path, rounds=1), beside_ben(*replies))
    (report,) = reports(tmp_path).stages
    assert report.refused == {
        "blank text": 1,
        "too long": 2,
        "unknown question": 1,
        "too many": 3,
    }
    assert report.external == EXTERNAL


@pytest.mark.faults
@pytest.mark.slow
def test_half_of_the_questions_at_most_are_followed_and_none_twice(tmp_path):
    hub = Hub()
    ben, exchange = LocalExchange(hub, "ben"), LocalExchange(hub, "ann")
    offered = [question.id for question in TRAIN[:4]]
    ben.publish(StageOutput("ben", Position(0, 0), tuple(Reply(q, "a") for q in offered)))
    ben.announce(Position(0, 0), published=True)
    assert play(sharing(tmp_path, rounds=3), exchange)
    followed = [set(offered).intersection(questions) for questions in asked(tmp_path, "ann")]
    assert [len(each) for each in followed] == [2, 2, 0]
    assert set().union(*followed) == set(offered)


def test_two_nodes_learn_from_each_other_and_publish_what_the_other_reads(tmp_path):
    names = ("ann", "ben")
    configs = {name: sharing(tmp_path / name, seed=i, rounds=3) for i, name in enumerate(names)}
    ended = play_together(configs)
    assert ended == {"ann": True, "ben": True}
    assert sum(report.external for name in names for report in reports(tmp_path / name).stages)
    said = {name: journal(tmp_path / name, name) for name in names}
    for name, other in zip(names, reversed(names), strict=True):
        for peer, at, texts in offered(tmp_path / name):
            assert peer == other
            assert texts == [reply.text for reply in said[other].published[at].replies]
        assert all(len(o.replies) == 4 * EXTERNAL for o in said[name].published.values())


@pytest.mark.faults
@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_and_publishes_nothing_twice(tmp_path):
    config = sharing(tmp_path, rounds=3)
    assert not play(config, LocalExchange(Hub(), "ann"), stages=2)
    assert play(config, LocalExchange(Hub(), "ann"))
    assert [report.position for report in reports(tmp_path).stages] == [
        Position(round_, 0) for round_ in range(3)
    ]
    assert (tmp_path / JOURNAL_FILE).read_text().count('"published"') == 3


@pytest.mark.faults
@pytest.mark.slow
def test_a_run_in_stages_goes_on_sharing_at_its_next_round(tmp_path):
    config = config_of(tmp_path, rounds=2)
    config.evaluation.questions = 0
    assert not play(config, LocalExchange(Hub(), "ann"), stages=2)
    assert play(sharing(tmp_path, rounds=2), LocalExchange(Hub(), "ann"))
    assert [report.position for report in reports(tmp_path).stages] == [
        Position(0, 0),
        Position(0, 1),
        Position(1, 0),
    ]
