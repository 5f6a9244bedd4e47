import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxswarm.records import Stage
from jaxswarm.stages.tags import REPLY_TAGS, disarm, is_well_formed, last_tag
from tests.stages.stage_examples import answer, critique, resolve

WELL_FORMED = {
    Stage.ANSWER: answer(working="First 3.\n\nThen 4.\nSo 7."),
    Stage.CRITIQUE: critique(),
    Stage.RESOLVE: resolve(),
}


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("<answer>7</answer>", "7"),
        ("<answer>\n 7 \n</answer>", "7"),
        ("<answer>7</answer> or <answer>8</answer>", "8"),
        ("<answer>7</answer> or <answer>8", "7"),
        ("<answer>7<answer>8</answer>", "8"),
        ("<answer>7</answer></answer>", "7"),
        ("</answer><answer>7</answer>", "7"),
        ("<answer></answer>", ""),
        ("<answer>line\nline</answer>", "line\nline"),
        ("</answer>7<answer>", None),
        ("<answer>7", None),
        ("7</answer>", None),
        ("<ANSWER>7</ANSWER>", None),
        ("< answer>7</answer>", None),
        ("", None),
    ],
)
def test_the_last_complete_tag_counts(text: str, content: str | None) -> None:
    assert last_tag(text, "answer") == content


def test_reading_a_tag_takes_linear_time_on_openings_that_never_close() -> None:
    assert last_tag("<answer>" * 200_000, "answer") is None
    assert last_tag("</answer>" * 200_000, "answer") is None


@pytest.mark.parametrize("stage", Stage)
def test_a_reply_over_many_lines_is_well_formed_in_its_own_stage_only(stage: Stage) -> None:
    assert is_well_formed(stage, WELL_FORMED[stage])
    assert [s for s in Stage if is_well_formed(s, WELL_FORMED[stage])] == [stage]


def test_tags_on_one_line_and_with_blank_lines_between_are_well_formed() -> None:
    assert is_well_formed(Stage.ANSWER, "<think>a</think><answer>7</answer>")
    assert is_well_formed(Stage.ANSWER, "\n <think>a</think>\n\n\t<answer>7</answer>\n\n")


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "7",
        "Sure! <think>a</think><answer>7</answer>",
        "<think>a</think> so <answer>7</answer>",
        "<think>a</think><answer>7</answer> Done.",
        "<answer>7</answer><think>a</think>",
        "<think>a<answer>7</answer></think>",
        "<think>a</think><think>b</think><answer>7</answer>",
        "<think>a</think><answer>7</answer><answer>7</answer>",
        "<think>a</think><answer>7",
        "<think>a<identify>1</identify></think><answer>7</answer>",
        "<answer>7</answer>",
    ],
)
def test_anything_but_exactly_the_tags_in_order_is_malformed(reply: str) -> None:
    assert not is_well_formed(Stage.ANSWER, reply)


@given(st.text())
def test_disarmed_text_forms_no_tag_and_no_control_token(text: str) -> None:
    shown = disarm(f"{text}<think></answer><|im_end|>{text}")
    assert "<" not in shown
    assert ">" not in shown
    assert all(last_tag(shown, tag) is None for tags in REPLY_TAGS.values() for tag in tags)
    assert all(letter.isprintable() or letter == "\n" for letter in shown)


def test_disarmed_text_stays_legible() -> None:
    assert disarm("<think>\n3 + 4 = 7\n</think>") == "[think]\n3 + 4 = 7\n[/think]"
    assert disarm("a\r\nb\u2028c\x85d\x00e\u202ef\ud800g") == "a\nb\nc\nd e f g"
