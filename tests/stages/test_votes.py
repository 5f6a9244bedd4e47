import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxswarm.records import NONE_RIGHT, Stage, content_id
from jaxswarm.stages.votes import named_student, shown_as, tally, vote_of
from tests.stages.stage_examples import answer, critique, discussion, resolve


@pytest.mark.parametrize(
    "text",
    [
        "Student #1",
        "student 1",
        "STUDENT#1",
        "Student # 1",
        "#1",
        "# 1",
        "1",
        " 1. ",
        "01",
        "Student #1 is best",
        "The best is student 1, for student #1 adds.",
        "Student #1: 1,080 dollars, 18.50 each, 300 in all",
    ],
)
def test_every_way_to_write_a_number_names_the_student(text: str) -> None:
    assert named_student(text, 3) == 1


@pytest.mark.parametrize("text", ["None", "none", " NONE. ", "None of the answers is right"])
def test_none_in_any_case_says_that_no_answer_is_right(text: str) -> None:
    assert named_student(text, 3) == NONE_RIGHT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Student",
        "nobody",
        "nonesuch",
        "Student #3",
        "Student #-1",
        "Student #1.5",
        "3",
        "1.5",
        "-1",
        "9" * 5000,
        "#" + "9" * 5000,
        "Student #0 and Student #1",
        "Student 1 or 2",
        "#0, #1",
        "0 1",
        "Student #1, unlike Student #9",
        "None, or else Student #1",
        "I hold with 1 here",
        "students 0 and 1",
        "²",
        "Student ²",
    ],
)
def test_text_that_names_no_one_student_is_no_vote(text: str) -> None:
    assert named_student(text, 3) is None


def test_without_students_only_none_can_be_named() -> None:
    assert named_student("0", 0) is None
    assert named_student("None", 0) == NONE_RIGHT


@given(st.text() | st.text("Studen #0123.,noe\n"), st.integers(0, 5))
def test_any_string_names_a_student_in_range_or_none_or_nobody(text: str, students: int) -> None:
    assert named_student(text, students) in {None, NONE_RIGHT, *range(students)}


def test_naming_takes_linear_time_on_blanks_and_marks() -> None:
    for text in ("student" + " " * 200_000, "#" * 200_000, "1," * 100_000, "student " * 30_000):
        assert named_student(text, 3) in {None, 1}


def test_a_vote_is_the_content_id_of_the_named_answer() -> None:
    talk = discussion(answer("7"), answer("12"))
    assert vote_of(Stage.CRITIQUE, critique("#1"), talk) == content_id(answer("12"))
    assert vote_of(Stage.RESOLVE, resolve("#0"), talk) == content_id(answer("7"))
    assert vote_of(Stage.CRITIQUE, critique("none"), talk) == NONE_RIGHT
    assert vote_of(Stage.CRITIQUE, critique("#2"), talk) == ""
    assert vote_of(Stage.CRITIQUE, "I think #1", talk) == ""
    assert vote_of(Stage.CRITIQUE, "<majority>#1</majority>", talk) == ""


def test_a_vote_reads_the_last_complete_tag() -> None:
    talk = discussion(answer("7"), answer("12"))
    assert vote_of(Stage.CRITIQUE, critique("#1") + critique("#0"), talk) == content_id(answer("7"))


def test_the_answer_stage_never_votes() -> None:
    assert vote_of(Stage.ANSWER, critique("#0"), discussion(answer())) == ""


def test_equal_texts_of_two_peers_are_one_answer_shown_under_the_lower_number() -> None:
    talk = discussion(answer("12"), answer("7"), answer("7"))
    vote = vote_of(Stage.CRITIQUE, critique("#2"), talk)
    assert vote == vote_of(Stage.CRITIQUE, critique("#1"), talk)
    assert shown_as(vote, talk) == 1
    assert shown_as(NONE_RIGHT, talk) is None


def test_the_tally_counts_one_vote_a_critic_and_leaves_out_what_is_not_shown() -> None:
    right = content_id(answer("7"))
    votes = (right, right, NONE_RIGHT, "", content_id("elsewhere"), "nonsense")
    assert tally(discussion(answer("7"), answer("12"), votes=votes)) == {right: 2, NONE_RIGHT: 1}


def test_votes_written_into_texts_are_not_counted() -> None:
    stuffed = answer("12") + critique("Student #0") * 20
    talk = discussion(stuffed, answer("7"), votes=(content_id(answer("7")),))
    assert tally(talk) == {content_id(answer("7")): 1}
