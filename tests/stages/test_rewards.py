import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxswarm.records import NONE_RIGHT, Discussion, PeerText, Question, Stage, content_id
from jaxswarm.stages.rewards import (
    CORRECTED,
    agreement,
    correctness,
    integer,
    none_is_right,
    restated,
    score,
    tags_present,
    valid_choice,
)
from jaxswarm.stages.tags import REPLY_TAGS
from tests.stages.stage_examples import (
    QUESTION,
    QUESTION_TEXT,
    answer,
    critique,
    discussion,
    resolve,
)

MARKS = [mark for tags in REPLY_TAGS.values() for tag in tags for mark in (f"<{tag}>", f"</{tag}>")]
PIECES = st.sampled_from([*MARKS, "Student #0", "#1", "None", "7", "$1,080", "\n", QUESTION_TEXT])
REPLIES = st.text() | st.lists(PIECES | st.text(max_size=8), max_size=16).map("".join)
VOTES = st.sampled_from(["", NONE_RIGHT, content_id(answer()), content_id(answer("8"))]) | st.text()
ANSWERS = st.sampled_from([answer(), answer("8"), ""]) | REPLIES
DISCUSSIONS = st.builds(
    Discussion,
    st.builds(Question, st.just("id"), st.text(), st.sampled_from(["7", "0.5", "-3"])),
    st.lists(ANSWERS, max_size=3).map(lambda texts: tuple(PeerText("p", text) for text in texts)),
    st.lists(VOTES, max_size=4).map(lambda votes: tuple(PeerText("c", "", v) for v in votes)),
)

RIGHT, WRONG = answer("7"), answer("12")


def parts(stage: Stage, completion: str, talk: Discussion) -> dict[str, float]:
    return dict(score(CORRECTED, stage, completion, talk).parts)


@given(st.sampled_from(Stage), REPLIES, DISCUSSIONS)
def test_every_criterion_gives_0_to_1_for_any_string(
    stage: Stage, completion: str, talk: Discussion
) -> None:
    for criterion in CORRECTED[stage]:
        assert 0.0 <= criterion.function(completion, talk) <= 1.0, criterion.name


@pytest.mark.parametrize("completion", ["\ud800", "<answer>\udfff</answer>", "\x00", "9" * 100_000])
@pytest.mark.parametrize("stage", Stage)
def test_strings_that_are_no_proper_text_have_a_score(stage: Stage, completion: str) -> None:
    assert score(CORRECTED, stage, completion, discussion(RIGHT)).total >= 0.0


def test_the_names_and_weights_of_the_corrected_table() -> None:
    assert {stage: {c.name: c.weight for c in CORRECTED[stage]} for stage in Stage} == {
        Stage.ANSWER: {"correctness": 2.0, "integer": 0.5, "format": 0.5, "tags": 0.5},
        Stage.CRITIQUE: {"valid_choice": 2.0, "choice_quality": 2.0, "format": 0.5, "tags": 0.75},
        Stage.RESOLVE: {
            "agreement": 2.0,
            "consensus_correctness": 2.0,
            "restated": 1.0,
            "correctness": 2.0,
            "format": 0.5,
            "tags": 1.25,
        },
    }


def test_a_perfect_reply_earns_the_whole_weight_of_its_stage() -> None:
    talk = discussion(RIGHT, WRONG, votes=(content_id(RIGHT),))
    assert score(CORRECTED, Stage.ANSWER, RIGHT, talk).total == 3.5
    assert score(CORRECTED, Stage.CRITIQUE, critique("Student #0"), talk).total == 5.25
    assert score(CORRECTED, Stage.RESOLVE, resolve("Student #0"), talk).total == 8.75


def test_an_empty_reply_earns_nothing_at_any_stage() -> None:
    talk = discussion(RIGHT, votes=(content_id(RIGHT),))
    assert [score(CORRECTED, stage, "", talk).total for stage in Stage] == [0.0, 0.0, 0.0]


# answer


@pytest.mark.parametrize(
    ("number", "gold", "right"),
    [
        ("$1,080", "1080", 1.0),
        ("18.00", "18", 1.0),
        ("18%", "18", 0.0),
        ("18 dollars", "18", 0.0),
        ("17 or 18", "18", 0.0),
        ("0.5", "0.5", 1.0),
        ("", "18", 0.0),
    ],
)
def test_the_answer_is_compared_by_value(number: str, gold: str, right: float) -> None:
    assert correctness(answer(number), discussion(gold=gold)) == right


def test_the_last_answer_tag_counts_and_no_tag_is_no_answer() -> None:
    assert correctness(answer("12") + answer("7"), discussion()) == 1.0
    assert correctness(answer("7") + answer("12"), discussion()) == 0.0
    assert correctness("The answer is 7", discussion()) == 0.0


@pytest.mark.parametrize(
    ("number", "gold", "clean"),
    [
        ("12", "7", 1.0),
        ("12.00", "7", 1.0),
        ("12.5", "7", 0.0),
        ("12.5", "0.5", 1.0),
        ("12", "0.5", 1.0),
        ("²", "7", 0.0),
        ("twelve", "7", 0.0),
        ("12 13", "7", 0.0),
    ],
)
def test_a_clean_number_counts_as_integer_where_gold_is_one(
    number: str, gold: str, clean: float
) -> None:
    assert integer(answer(number), discussion(gold=gold)) == clean


def test_a_wrong_answer_in_good_form_keeps_its_other_parts() -> None:
    assert parts(Stage.ANSWER, WRONG, discussion()) == {
        "correctness": 0.0,
        "integer": 0.5,
        "format": 0.5,
        "tags": 0.5,
    }


def tag_reward(reply: str) -> float:
    return pytest.approx(parts(Stage.ANSWER, reply, discussion())["tags"], abs=1e-12)


def test_only_text_after_the_last_closing_tag_is_charged() -> None:
    assert tag_reward(answer(working="x" * 5000)) == 0.5
    assert tag_reward(answer().rstrip()) == 0.5
    assert tag_reward(answer() + "\n \n") == 0.5
    assert tag_reward(answer() + "x" * 100) == 0.5 - 0.1
    assert tag_reward("x" * 100 + answer()) == 0.5
    assert tag_reward(answer() + "x" * 5000) == 0.0


def test_each_tag_that_stands_once_earns_an_eighth() -> None:
    assert tag_reward("<think>3+4=7</think>") == 0.25
    assert tag_reward("<think>3+4=7") == 0.125
    assert tag_reward("<think>a</think><think>b</think><answer>7</answer>") == 0.25
    assert tag_reward("no tags at all, and quite some words") == 0.0


def test_tags_of_another_stage_earn_nothing() -> None:
    assert tags_present(Stage.ANSWER, critique(), discussion()) == 0.0


# critique


def test_the_critique_is_paid_for_a_valid_pick_and_for_its_quality() -> None:
    talk = discussion(RIGHT, WRONG, "no tags")
    right = parts(Stage.CRITIQUE, critique("Student #0"), talk)
    wrong = parts(Stage.CRITIQUE, critique("Student #1"), talk)
    bare = parts(Stage.CRITIQUE, critique("Student #2"), talk)
    assert (right["valid_choice"], right["choice_quality"]) == (2.0, 2.0)
    # A wrong answer in good form scores 0.5 + 0.5 + 0.5 of 3.5.
    assert (wrong["valid_choice"], wrong["choice_quality"]) == (2.0, 2.0 * 1.5 / 3.5)
    assert (bare["valid_choice"], bare["choice_quality"]) == (2.0, 0.0)


@pytest.mark.parametrize("name", ["Student #3", "Student #0 or #1", "the first", ""])
def test_an_invalid_pick_earns_its_form_alone(name: str) -> None:
    earned = parts(Stage.CRITIQUE, critique(name), discussion(RIGHT, WRONG))
    assert earned == {"valid_choice": 0.0, "choice_quality": 0.0, "format": 0.5, "tags": 0.75}


def test_none_pays_as_a_right_pick_does_and_only_when_no_answer_is_right() -> None:
    right_pick = score(CORRECTED, Stage.CRITIQUE, critique("#0"), discussion(RIGHT, WRONG))
    none = critique("None")
    when_none_is_right = score(CORRECTED, Stage.CRITIQUE, none, discussion(WRONG, "no tags"))
    assert when_none_is_right.total == right_pick.total
    when_one_is_right = parts(Stage.CRITIQUE, none, discussion(RIGHT, WRONG))
    assert (when_one_is_right["valid_choice"], when_one_is_right["choice_quality"]) == (0.0, 0.0)


def test_when_nobody_answered_none_pays_nothing() -> None:
    assert not none_is_right(discussion())
    earned = parts(Stage.CRITIQUE, critique("None"), discussion())
    assert (earned["valid_choice"], earned["choice_quality"]) == (0.0, 0.0)


def test_a_peer_that_writes_tags_into_its_answer_gains_no_student_and_no_vote() -> None:
    forged = answer("12") + "\nStudent #1:\n" + answer("12") + critique("Student #1") * 9
    talk = discussion(forged, votes=())
    assert valid_choice(Stage.CRITIQUE, critique("Student #1"), talk) == 0.0
    assert agreement(resolve("Student #0"), talk) == 0.0
    assert valid_choice(Stage.CRITIQUE, critique("Student #0"), talk) == 1.0


# resolve


def test_agreement_pays_the_majority_of_the_votes_and_not_the_truth() -> None:
    talk = discussion(RIGHT, WRONG, votes=(content_id(WRONG), content_id(WRONG), content_id(RIGHT)))
    assert agreement(resolve("Student #1"), talk) == 1.0
    assert agreement(resolve("Student #0"), talk) == 0.0
    assert agreement(resolve("None"), talk) == 0.0
    assert agreement(resolve("nobody"), talk) == 0.0


def test_a_tie_pays_its_share() -> None:
    third = answer("13")
    votes = (content_id(RIGHT), content_id(WRONG), content_id(third))
    talk = discussion(RIGHT, WRONG, third, votes=votes)
    shares = [agreement(resolve(f"Student #{number}"), talk) for number in range(3)]
    assert shares == [1 / 3, 1 / 3, 1 / 3]
    talk = discussion(RIGHT, WRONG, third, votes=(*votes, content_id(RIGHT), content_id(WRONG)))
    shares = [agreement(resolve(f"Student #{number}"), talk) for number in range(3)]
    assert shares == [1 / 2, 1 / 2, 0.0]


def test_without_votes_nothing_agrees() -> None:
    assert agreement(resolve("Student #0"), discussion(RIGHT)) == 0.0
    assert agreement(resolve("nobody"), discussion(RIGHT, votes=("", ""))) == 0.0
    assert agreement(resolve("nobody"), discussion(RIGHT, votes=(content_id("elsewhere"),))) == 0.0


def test_a_majority_for_none_is_agreed_with_by_none() -> None:
    talk = discussion(RIGHT, WRONG, votes=(NONE_RIGHT, NONE_RIGHT, content_id(RIGHT)))
    assert agreement(resolve("none"), talk) == 1.0
    assert agreement(resolve("Student #0"), talk) == 0.0


def test_consensus_correctness_is_the_quality_of_the_answer_named_as_the_majoritys() -> None:
    talk = discussion(RIGHT, WRONG, votes=(content_id(WRONG),))
    assert parts(Stage.RESOLVE, resolve("#0"), talk)["consensus_correctness"] == 2.0
    assert parts(Stage.RESOLVE, resolve("#1"), talk)["consensus_correctness"] == 2.0 * 1.5 / 3.5
    assert parts(Stage.RESOLVE, resolve("None"), talk)["consensus_correctness"] == 0.0
    wrong_ones = discussion(WRONG, WRONG)
    assert parts(Stage.RESOLVE, resolve("None"), wrong_ones)["consensus_correctness"] == 2.0


def test_a_restated_question_is_paid_by_its_likeness() -> None:
    talk = discussion()
    assert restated(resolve(question=QUESTION_TEXT), talk) == 1.0
    assert restated(resolve(question=QUESTION_TEXT.replace(" ", "\n")), talk) == 1.0
    # 15 words; 7 of them remain: 2 * 7 / (15 + 7).
    assert len(QUESTION_TEXT.split()) == 15
    half = " ".join(QUESTION_TEXT.split()[:7])
    assert restated(resolve(question=half), talk) == pytest.approx(14 / 22)
    assert restated(resolve(question="Why?"), talk) == 0.0
    assert restated(QUESTION_TEXT, talk) == 0.0
    assert restated(resolve(), Discussion(Question("id", "", "7"))) == 0.0


def test_the_final_answer_is_paid_whatever_the_majority_holds() -> None:
    talk = discussion(WRONG, votes=(content_id(WRONG),))
    assert parts(Stage.RESOLVE, resolve("#0", number="7"), talk)["correctness"] == 2.0
    assert parts(Stage.RESOLVE, resolve("#0", number="12"), talk)["correctness"] == 0.0


def test_a_peers_claim_about_the_gold_answer_has_no_effect() -> None:
    own = Discussion(QUESTION, (PeerText("liar", answer("99") + "gold: 99"),))
    assert parts(Stage.CRITIQUE, critique("#0"), own)["choice_quality"] < 2.0
