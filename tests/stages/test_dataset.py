import json
import random
from pathlib import Path

import pytest

from jaxswarm.errors import InputError
from jaxswarm.records import Question
from jaxswarm.stages.answers import normalise
from jaxswarm.stages.dataset import Dataset, draw, gold_of, load

GSM8K = Path(__file__).parents[2].parent / "shared" / "gsm8k"

QUESTIONS = tuple(
    Question(Question.id_of(text), text, "1") for text in (f"Question {n}?" for n in range(100))
)


def write(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(question: object, answer: object) -> dict[str, object]:
    return {"question": question, "answer": answer}


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("3+4=<<3+4=7>>7 cups\n#### 7", "7"),
        ("#### 1,080", "1080"),
        ("#### 3\nno, \n#### $18.00", "18"),
        ("-5", "-5"),
        (12, "12"),
        (2.5, "2.5"),
        (12.0, "12"),
        ("#### 18%", None),
        ("seven\n####", None),
        ("3+4=7", None),
        (None, None),
        ("", None),
    ],
)
def test_gold_is_the_number_after_the_mark_or_the_whole_column(
    answer: object, gold: str | None
) -> None:
    assert gold_of(answer) == gold


@pytest.fixture(scope="module")
def gsm8k() -> Dataset:
    if not GSM8K.is_dir():
        pytest.skip("no GSM8K beside the repository: ../shared/gsm8k with train.jsonl, test.jsonl")
    return load(str(GSM8K))


def test_every_gold_answer_of_gsm8k_is_read(gsm8k: Dataset) -> None:
    assert (len(gsm8k.train), len(gsm8k.held_out)) == (7473, 1319)
    assert (gsm8k.skipped, gsm8k.repeated) == (0, 0)
    for question in gsm8k.train + gsm8k.held_out:
        assert normalise(question.gold) == question.gold
        assert question.id == Question.id_of(question.text)


def test_gsm8k_reads_as_published(gsm8k: Dataset) -> None:
    ducks = gsm8k.held_out[0]
    assert (ducks.text[:22], ducks.gold) == ("Janet’s ducks lay 16 e", "18")
    assert {"1080", "109200000"} <= {question.gold for question in gsm8k.train}
    assert {"-10", "-3"} <= {question.gold for question in gsm8k.held_out}


def test_no_question_is_both_learnt_from_and_judged_by(gsm8k: Dataset) -> None:
    train, held_out = ({q.id for q in part} for part in (gsm8k.train, gsm8k.held_out))
    assert len(train) == 7473
    assert not train & held_out


def test_rows_without_gold_or_question_are_counted_and_left_out(tmp_path: Path) -> None:
    write(
        tmp_path / "train.jsonl",
        row("a?", "#### 1"),
        row("b?", "#### many"),
        row("", "#### 1"),
        row(None, "#### 1"),
        row("c?", None),
        row(" a? ", "#### 1"),
        row("held out?", "#### 1"),
    )
    write(tmp_path / "test.jsonl", row("held out?", "2"), row("d?", "5%"))
    data = load(str(tmp_path))
    assert data.train == (Question(Question.id_of("a?"), "a?", "1"),)
    assert data.held_out == (Question(Question.id_of("held out?"), "held out?", "2"),)
    assert (data.skipped, data.repeated) == (5, 2)


def test_columns_are_named_by_the_caller(tmp_path: Path) -> None:
    for split in ("learn", "judge"):
        write(tmp_path / f"{split}.jsonl", {"problem": f"{split}?", "result": 3})
    data = load(
        str(tmp_path),
        train_split="learn",
        held_out_split="judge",
        question_column="problem",
        answer_column="result",
    )
    assert [question.gold for question in data.train + data.held_out] == ["3", "3"]


def test_of_a_single_file_a_tenth_or_so_is_held_out_alike_everywhere(tmp_path: Path) -> None:
    rows = [row(f"Question {n}?", n) for n in range(500)]
    first = load(str(write(tmp_path / "all.jsonl", *rows)))
    second = load(str(write(tmp_path / "shuffled.jsonl", *reversed(rows))))
    assert len(first.train) + len(first.held_out) == 500
    assert 30 <= len(first.held_out) <= 70
    assert set(first.held_out) == set(second.held_out)
    assert first.fingerprint() == second.fingerprint()


@pytest.mark.parametrize("column", ["question", "answer"])
def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path, column: str) -> None:
    other = "question" if column == "answer" else "answer"
    pair = [write(tmp_path / f"{n}.jsonl", {other: "1", "level": 1}) for n in range(2)]
    with pytest.raises(InputError, match=rf"--config.data.{column}_column: got '{column}'") as told:
        load(",".join(map(str, pair)))
    assert f"which has {other}, level;" in str(told.value)
    assert "--config.data.source=DIR" in str(told.value)


@pytest.mark.parametrize("empty", ["train", "test"])
def test_a_split_without_any_usable_question_is_refused(tmp_path: Path, empty: str) -> None:
    for split in ("train", "test"):
        write(tmp_path / f"{split}.jsonl", row(f"{split}?", "none" if split == empty else "1"))
    name = {"train": "training", "test": "held-out"}[empty]
    with pytest.raises(InputError, match=f"{name} questions") as told:
        load(str(tmp_path))
    assert "1 rows lack one" in str(told.value)
    assert "--config.data.source=DIR" in str(told.value)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").touch()
    write(tmp_path / "test.jsonl", row("a?", "1"))
    with pytest.raises(InputError, match="training questions"):
        load(str(tmp_path))


def test_the_fingerprint_changes_with_a_gold_answer() -> None:
    changed = (Question(QUESTIONS[0].id, QUESTIONS[0].text, "2"), *QUESTIONS[1:])
    prints = {Dataset(q, (), 0, 0).fingerprint() for q in (QUESTIONS, QUESTIONS[:-1], changed)}
    assert len(prints) == 3


def test_a_rounds_questions_are_the_same_on_every_node_in_whatever_order_it_read_them() -> None:
    shuffled = random.Random(0).sample(QUESTIONS, len(QUESTIONS))
    assert draw(QUESTIONS, 3, 5, 8) == draw(shuffled, 3, 5, 8)


def test_a_rounds_questions_stay_what_they_were_when_this_was_written() -> None:
    # Nodes of different versions share a swarm only as long as this holds.
    asked = [question.text for question in draw(QUESTIONS, 3, 5, 4)]
    assert asked == ["Question 46?", "Question 35?", "Question 62?", "Question 38?"]


def test_no_question_repeats_within_a_round_and_rounds_differ() -> None:
    rounds = [draw(QUESTIONS, 0, index, 10) for index in range(20)]
    assert all(len(set(questions)) == 10 for questions in rounds)
    assert len(set(rounds)) == 20
    assert len({question for questions in rounds for question in questions}) > 70
    assert draw(QUESTIONS, 1, 0, 10) != rounds[0]


def test_a_round_may_ask_all_questions() -> None:
    assert set(draw(QUESTIONS, 0, 0, 100)) == set(QUESTIONS)
