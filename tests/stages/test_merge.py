from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxswarm.records import (
    NONE_RIGHT,
    Discussion,
    PeerText,
    Position,
    Question,
    Reply,
    Stage,
    StageOutput,
    content_id,
)
from jaxswarm.stages.merge import Merged, choose, merge, reply_of, select_peers
from tests.stages.stage_examples import answer, critique, discussion, resolve

FIRST = Question(Question.id_of("1+1?"), "1+1?", "2")
SECOND = Question(Question.id_of("2+2?"), "2+2?", "4")
ROUND = (Discussion(FIRST), Discussion(SECOND))


def output(peer: str, *texts: str, round_index: int = 0, vote: str = "") -> StageOutput:
    """One text for each question of the round, in order."""
    replies = (Reply(d.question.id, text, vote) for d, text in zip(ROUND, texts, strict=False))
    return StageOutput(peer, Position(round_index, 0), tuple(replies))


def merged(
    stage: Stage,
    outputs: list[StageOutput],
    own: StageOutput,
    discussions: tuple[Discussion, ...] = ROUND,
    limit: int = 3,
) -> Merged:
    return merge(stage, discussions, outputs, own, limit=limit, swarm_seed=0, max_peer_chars=100)


def peers_of(texts: tuple[PeerText, ...]) -> list[str]:
    return [text.peer for text in texts]


# publishing


GROUP = [answer("8"), answer("7"), "no tags", answer("7"), answer("8"), answer("7.00")]


def test_best_takes_the_highest_reward_and_the_first_of_equals() -> None:
    assert choose("best", Stage.ANSWER, GROUP, [1, 3, 0, 3, 2, 3], discussion()) == 1


def test_first_takes_the_first_whatever_it_earned() -> None:
    assert choose("first", Stage.ANSWER, GROUP, [0, 3, 3, 3, 3, 3], discussion()) == 0


@pytest.mark.parametrize("stage", [Stage.ANSWER, Stage.RESOLVE])
def test_majority_goes_by_the_final_number_and_never_by_reward(stage: Stage) -> None:
    assert choose("majority", stage, GROUP, [9, 0, 9, 0, 9, 0], discussion()) == 1


def test_majority_of_critiques_goes_by_the_named_answer() -> None:
    talk = discussion(answer("7"), answer("12"))
    texts = [critique(name) for name in ("#0", "nobody", "#1", "Student 1", "None", "nobody")]
    assert choose("majority", Stage.CRITIQUE, texts, [0.0] * 6, talk) == 2


def test_majority_of_a_tie_or_of_nothing_is_the_earliest() -> None:
    assert choose("majority", Stage.ANSWER, ["x", *GROUP[:2]], [0, 0, 1], discussion()) == 1
    assert choose("majority", Stage.ANSWER, ["x", "y"], [0, 1], discussion()) == 0


def test_the_published_record_carries_the_vote_by_content() -> None:
    talk = discussion(answer("7"), answer("12"))
    assert reply_of(Stage.CRITIQUE, critique("#1"), talk) == Reply(
        talk.question.id, critique("#1"), content_id(answer("12"))
    )
    assert reply_of(Stage.RESOLVE, resolve("None"), talk).vote == NONE_RIGHT
    assert reply_of(Stage.ANSWER, critique("#1"), talk).vote == ""


# choosing peers


PEERS = st.lists(st.text(min_size=1, max_size=5), unique=True, min_size=1, max_size=12)


@given(PEERS, st.integers(1, 6), st.randoms(use_true_random=False))
def test_own_text_is_always_shown_and_arrival_order_never_matters(
    peers: list[str], limit: int, random
) -> None:
    candidates = [PeerText(peer, f"text of {peer}") for peer in peers]
    own = random.choice(peers)
    chosen = select_peers(candidates, own, limit, "seed")
    random.shuffle(candidates)
    assert select_peers(candidates, own, limit, "seed") == chosen
    assert len(chosen) == min(limit, len(peers))
    assert own in peers_of(chosen)
    assert len(set(peers_of(chosen))) == len(chosen)


def test_without_an_own_text_the_limit_is_filled_with_peers() -> None:
    candidates = [PeerText(peer, "text") for peer in "abcde"]
    assert len(select_peers(candidates, "me", 3, "seed")) == 3
    assert select_peers([], "me", 3, "seed") == ()


def test_every_peer_gets_its_turn_and_every_place_as_the_seed_changes() -> None:
    candidates = [PeerText(peer, "text") for peer in "abcde"]
    shown, first = Counter[str](), Counter[str]()
    for seed in range(2000):
        chosen = peers_of(select_peers(candidates, "a", 3, str(seed)))
        shown.update(chosen)
        first.update(chosen[:1])
    # Own text always; the other four share two places; "a" is ranked first as often as others,
    # or a model would learn to name a number.
    assert shown["a"] == 2000
    assert all(900 < shown[peer] < 1100 for peer in "bcde")
    assert 300 < first["a"] < 500


def test_two_nodes_that_see_the_same_peers_number_them_alike() -> None:
    outputs = {peer: output(peer, f"{peer} one", f"{peer} two") for peer in "abc"}
    views = []
    for own in "abc":
        others = [outputs[peer] for peer in "cba" if peer != own]
        views.append(merged(Stage.ANSWER, others, outputs[own]).discussions)
    assert views[0] == views[1] == views[2]


# merging


def test_after_the_answer_stage_the_discussions_hold_the_answers() -> None:
    result = merged(
        Stage.ANSWER, [output("b", "b1", "b2"), output("c", "c1")], output("a", "a1", "a2")
    )
    first, second = result.discussions
    assert {(text.peer, text.text) for text in first.answers} == {
        ("a", "a1"),
        ("b", "b1"),
        ("c", "c1"),
    }
    assert {text.text for text in second.answers} == {"a2", "b2"}
    assert (first.question, second.question) == (FIRST, SECOND)
    assert first.critiques == second.critiques == ()
    assert dict(result.refused) == {}


def test_after_the_critique_stage_critiques_with_their_votes_join_the_answers() -> None:
    answered = merged(Stage.ANSWER, [output("b", "b1", "b2")], output("a", "a1", "a2"))
    vote = content_id("a1")
    result = merged(
        Stage.CRITIQUE,
        [output("b", "cb1", "cb2", vote=vote)],
        output("a", "ca1", "ca2"),
        answered.discussions,
    )
    first = result.discussions[0]
    assert first.answers == answered.discussions[0].answers
    assert set(first.critiques) == {PeerText("a", "ca1", ""), PeerText("b", "cb1", vote)}
    assert peers_of(first.critiques) == peers_of(first.answers)


def test_the_resolve_stage_ends_the_round_and_adds_nothing() -> None:
    talk = (discussion("x", votes=("",)),)
    own = StageOutput("a", Position(0, 2), (Reply(talk[0].question.id, "mine"),))
    assert merged(Stage.RESOLVE, [], own, talk).discussions == talk


def test_a_node_without_peers_learns_from_its_own_texts() -> None:
    result = merged(Stage.ANSWER, [], output("a", "a1", ""))
    assert [d.answers for d in result.discussions] == [
        (PeerText("a", "a1"),),
        (PeerText("a", ""),),
    ]


def test_unusable_texts_are_refused_whole_and_counted_by_reason() -> None:
    stranger = StageOutput("c", Position(0, 0), (Reply("0" * 16, "text"), Reply("", "text")))
    twice = StageOutput("d", Position(0, 0), (Reply(FIRST.id, "d1"), Reply(FIRST.id, "again")))
    outputs = [output("b", "x" * 101, " \n"), stranger, twice, output("d", "once more")]
    result = merged(Stage.ANSWER, outputs, output("a", "y" * 101, "a2"), limit=9)
    assert dict(result.refused) == {
        "too long": 1,
        "blank text": 1,
        "unknown question": 2,
        "repeated": 2,
    }
    first, second = result.discussions
    assert set(first.answers) == {PeerText("a", "y" * 101), PeerText("d", "d1")}
    assert second.answers == (PeerText("a", "a2"),)


def test_the_number_of_texts_is_bounded_and_the_choice_differs_by_question_and_round() -> None:
    outputs = [output(f"p{n:02}", "one", "two") for n in range(30)]
    choices = set()
    for round_index in range(4):
        own = output("a", "a1", "a2", round_index=round_index)
        for shown in merged(Stage.ANSWER, outputs, own).discussions:
            assert len(shown.answers) == 3
            assert "a" in peers_of(shown.answers)
            choices.add(tuple(peers_of(shown.answers)))
    assert len(choices) == 8
