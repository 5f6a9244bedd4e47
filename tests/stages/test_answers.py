from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxswarm.stages.answers import final_answer, is_correct, normalise


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1080", "1080"),
        ("1,080", "1080"),
        ("$1,080", "1080"),
        ("$ 1,080.00.", "1080"),
        ("1,234,567.50", "1234567.5"),
        ("18.00", "18"),
        ("18.", "18"),
        ("18$", "18"),
        (".50", "0.5"),
        ("1.5.", "1.5"),
        ("18$.", "18"),
        ("007", "7"),
        ("+5", "5"),
        ("-3", "-3"),
        ("-$16", "-16"),
        ("$-16", "-16"),
        ("\u221216", "-16"),
        ("-0.00", "0"),
        (" \n 42 \t", "42"),
        ("１，０８０", "1080"),
        ("𝟜𝟚", "42"),
        ("1" * 5000 + ".10", "1" * 5000 + ".1"),
    ],
)
def test_spellings_of_one_number_become_one(text: str, number: str) -> None:
    assert normalise(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "18%",
        "％18",
        "18 dollars",
        "7 and 8",
        "7 8",
        "3/4",
        "½",
        "²",
        "5²",
        "x₂",
        "1e3",
        "1,08",
        "10,80",
        "1,0800",
        ",080",
        "1.080.000",
        "18..",
        "1.5.5",
        "--3",
        "- 3 -",
        "-",
        ".",
        "$",
        "$$",
        "",
        "NaN",
        "Infinity",
        "٣",
        "seven",
        "= 7",
    ],
)
def test_what_is_not_one_plain_number_is_refused(text: str) -> None:
    assert normalise(text) is None


@given(st.text() | st.text("0123456789.,$-+% \n"))
def test_any_string_gives_none_or_a_number_that_normalises_to_itself(text: str) -> None:
    number = normalise(text)
    if number is not None:
        assert Decimal(number).is_finite()
        assert normalise(number) == number


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4))
def test_equal_decimals_normalise_alike(value: Decimal) -> None:
    assert normalise(f"{value:f}") == normalise(f"${value:,f}00")
    assert Decimal(normalise(f"{value:f}") or "NaN") == value


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("<answer>$1,080</answer>", "1080"),
        ("<answer>5</answer> no: <answer>18.00</answer>", "18"),
        ("<answer>5</answer> no: <answer>18", "5"),
        ("<answer>18%</answer>", None),
        ("<answer>5</answer><answer>five</answer>", None),
        ("The answer is 18", None),
        ("", None),
    ],
)
def test_the_final_answer_is_the_number_in_the_last_answer_tag(
    reply: str, number: str | None
) -> None:
    assert final_answer(reply) == number


def test_a_reply_is_correct_by_value_and_not_by_spelling() -> None:
    assert is_correct("<answer>$1,080.00</answer>", "1080")
    assert not is_correct("<answer>1081</answer>", "1080")
    assert not is_correct("1080", "1080")
