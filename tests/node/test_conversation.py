"""What a node takes from its swarm's texts, without a model: over the in-memory exchange."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configs import tiny
from jaxswarm.node import batches
from jaxswarm.node.conversation import Conversation
from jaxswarm.node.parts import Parts
from jaxswarm.records import Discussion, Position, Reply, Score, Stage, StageOutput
from jaxswarm.report.journal import JOURNAL_FILE, Journal
from jaxswarm.setup import assemble, settings
from jaxswarm.stages.registry import StagePlan
from jaxswarm.swarm.local_exchange import Hub, LocalExchange

ANSWER, CRITIQUE, RESOLVE = (Position(0, index) for index in range(3))
RIGHT = "<think>\n3+4=7\n</think>\n<answer>\n7\n</answer>\n"

Begin = Callable[..., tuple[Conversation, Parts]]


def go_on(*_: Any) -> bool:
    return True


@pytest.fixture(scope="module")
def config():
    config = tiny.get_config()
    config.stages.questions = 4
    config.stages.peers_in_prompt = 4
    config.swarm.stage_deadline_s = 0.1
    return config


@pytest.fixture
def begin(tmp_path: Path, config) -> Begin:
    """A life of the node "me": with a hub, and with the past that its journal holds."""
    tokenizer = assemble.tokenizer(assemble.model_source(config))
    nothing: Any = None

    def life(hub: Hub) -> tuple[Conversation, Parts]:
        journal = Journal(tmp_path / JOURNAL_FILE)
        parts = Parts(
            learner=nothing,
            tokenizer=tokenizer,
            plans=assemble.plans(config),
            dataset=assemble.data(config),
            exchange=LocalExchange(hub, "me"),
            checkpointer=nothing,
            journal=journal,
            metrics=nothing,
            status=nothing,
        )
        past = journal.read(own="me", since=ANSWER)
        return Conversation(settings.node(config, "me"), parts, past), parts

    return life


def say(hub: Hub, peer: str, position: Position, *replies: Reply) -> StageOutput:
    exchange, output = LocalExchange(hub, peer), StageOutput(peer, position, replies)
    exchange.publish(output)
    exchange.announce(position, published=True)
    return output


def to_all(questions: tuple[Discussion, ...], text: str) -> tuple[Reply, ...]:
    return tuple(Reply(discussion.question.id, text) for discussion in questions)


@pytest.mark.parametrize("characters", ["🦜", "ﷺ"])
def test_rare_characters_of_one_peer_take_no_question_from_the_others(
    begin: Begin, config, characters: str
) -> None:
    hub = Hub()
    conversation, parts = begin(hub)
    questions = conversation.questions(0)
    hostile = "<think>" + characters * (config.stages.max_peer_chars - 7)
    say(hub, "ann", ANSWER, *to_all(questions, RIGHT))
    say(hub, "ben", ANSWER, *to_all(questions, hostile))
    own = StageOutput("me", ANSWER, to_all(questions, RIGHT))
    gathered = conversation.gather(ANSWER, questions, go_on)
    merged = conversation.merge(ANSWER, questions, gathered, own)

    plan = parts.plans[Stage.CRITIQUE]
    prompts = batches.fit(
        parts.tokenizer,
        [plan.messages(discussion) for discussion in merged.discussions],
        config.generation.prompt_buckets,
        len(questions),
    )
    assert len(prompts.kept) == len(questions)
    assert dict(merged.refused) == {"too long": len(questions)}
    for discussion in merged.discussions:
        assert {answer.peer for answer in discussion.answers} == {"me", "ann"}


def test_no_time_is_spent_on_the_reward_of_a_text_that_is_not_used(
    begin: Begin, config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored, score = [], StagePlan.score

    def noting(plan: StagePlan, text: str, discussion: Discussion) -> Score:
        scored.append(text)
        return score(plan, text, discussion)

    monkeypatch.setattr(StagePlan, "score", noting)
    hub = Hub()
    conversation, parts = begin(hub)
    questions = conversation.questions(0)
    first, second = (discussion.question.id for discussion in questions[:2])
    texts = {
        first: ("x" * (config.stages.max_peer_chars + 1), " ", RIGHT, "again", RIGHT + "again"),
        second: ("my only one",),
        "0" * 16: ("of no question",),
    }
    replies = [Reply(question, text) for question, said in texts.items() for text in said]
    say(hub, "ann", ANSWER, *replies)
    gathered = conversation.gather(ANSWER, questions, go_on)
    assert scored == [RIGHT, "my only one"]

    own = StageOutput("me", ANSWER, to_all(questions, "mine"))
    merged = conversation.merge(ANSWER, questions, gathered, own)
    shown = [text.text for talk in merged.discussions for text in talk.answers]
    assert [text for text in shown if text != "mine"] == scored
    (line,) = map(json.loads, (tmp_path / JOURNAL_FILE).read_text().splitlines())
    assert [reply["text"] for reply in line["replies"]] == scored, "nor any place on the disk"
    rewards = {reply["text"]: reply["reward"] for reply in line["replies"] if "reward" in reply}
    plan = parts.plans[Stage.ANSWER]
    assert rewards == {
        text: score(plan, text, talk).total for text, talk in zip(scored, questions, strict=False)
    }


def test_after_a_kill_what_came_late_comes_late_again(begin: Begin) -> None:
    """Though the network has it from the first stage on by then."""
    hub, refused = Hub(), Counter[str]()
    LocalExchange(hub, "slow").announce(ANSWER, published=False)

    def play_on(
        conversation: Conversation, parts: Parts, before_critique: Callable[[], Any]
    ) -> list[tuple[Discussion, ...]]:
        """Plays the first two stages. The questions as each of the next two sees them."""
        discussions, seen = conversation.questions(0), []
        for position in (ANSWER, CRITIQUE):
            if position == CRITIQUE:
                before_critique()
            own = StageOutput("me", position, to_all(discussions, f"mine at {position}"))
            if not conversation.said(position):
                parts.journal.published(own, [], {})
            gathered = conversation.gather(position, discussions, go_on)
            merged = conversation.merge(position, discussions, gathered, own)
            discussions = merged.discussions
            refused.update(merged.refused)
            seen.append(discussions)
        return seen

    conversation, parts = begin(hub)
    first, second = (discussion.question.id for discussion in conversation.questions(0)[:2])
    replies = Reply(first, "late"), Reply(second, " ")
    lived = play_on(conversation, parts, lambda: say(hub, "slow", ANSWER, *replies))
    assert refused == {"blank text": 1}
    shown = [[{text.text for text in talk.answers} for talk in talks[:1]] for talks in lived]
    assert shown == [[{f"mine at {ANSWER}"}], [{f"mine at {ANSWER}", "late"}]]

    conversation, parts = begin(hub)
    for position, discussions in zip((CRITIQUE, RESOLVE), lived, strict=True):
        assert conversation.replay(position) == discussions
    conversation, parts = begin(hub)
    assert play_on(conversation, parts, lambda: None) == lived
