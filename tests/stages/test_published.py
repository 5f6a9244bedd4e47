"""The rewards as published, against values that the published functions gave."""

import json
import random
import re
import time
from pathlib import Path

import pytest

from jaxswarm.records import Discussion, PeerText, Question, Stage
from jaxswarm.stages import dataset, published, registry
from jaxswarm.stages.tags import REPLY_TAGS

CASES = Path(__file__).parents[2].parent / "shared" / "fixtures" / "published_rewards.jsonl"

NOTHING = Discussion(Question("q", "How many?", "3"))


def cases() -> list[dict]:
    return [json.loads(line) for line in CASES.read_text().splitlines()] if CASES.exists() else []


def discussion_of(case: dict) -> Discussion:
    question = Question(Question.id_of(case["question"]), case["question"], case["gold"])
    answers, critiques = (
        tuple(PeerText(f"peer {number}", text) for number, text in enumerate(case.get(key, ())))
        for key in ("answers", "critiques")
    )
    return Discussion(question, answers, critiques)


@pytest.mark.skipif(
    not CASES.exists(),
    reason="no published values beside the repository: ../shared/fixtures/published_rewards.jsonl",
)
def test_every_value_is_the_published_one():
    plans = registry.plans("full", "published")
    told = cases()
    assert len(told) == 60
    assert {case["stage"] for case in told} == set(Stage)
    for case in told:
        score = plans[Stage(case["stage"])].score(case["completion"], discussion_of(case))
        assert dict(score.parts) == pytest.approx(case["rewards"], abs=1e-6), case["completion"]
        assert score.total == pytest.approx(case["total"], abs=1e-6)


@pytest.mark.parametrize("stage", [Stage.ANSWER, Stage.RESOLVE])
def test_gold_is_compared_as_the_data_set_writes_it(tmp_path, stage):
    for split in ("train", "test"):
        line = {"question": f"How many? ({split})", "answer": "1,000+80=1,080\n####  1,080 "}
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(line) + "\n")
    (question,) = dataset.load(str(tmp_path)).train
    assert question.gold == "1080"
    plan = registry.plans("full", "published")[stage]
    name = {Stage.ANSWER: "correctness", Stage.RESOLVE: "final_correctness"}[stage]
    worth = [
        plan.score(f"<answer>{answer}</answer>", Discussion(question)).parts[name]
        for answer in ("1,080", "1080", "1,080.0", "")
    ]
    assert worth == [2.0, 0.0, 0.0, 0.0]


def test_the_soft_form_is_the_published_pattern():
    random_ = random.Random(0)
    pieces = [f"<{end}{tag}>" for tag in REPLY_TAGS[Stage.ANSWER] for end in ("", "/")]
    pieces += ["x", "\n", " "]
    pattern = re.compile(r"<think>.*?</think>\s*<answer>.*?</answer>")
    found = set()
    for _ in range(20000):
        text = "<think>" + "".join(random_.choices(pieces, k=random_.randint(3, 9)))
        matched = pattern.match(text) is not None
        found.add(matched)
        assert published.soft_form(Stage.ANSWER, text, NOTHING) == matched, text
    assert found == {True, False}


@pytest.mark.parametrize("stage", list(Stage))
def test_no_text_takes_long_to_score(stage):
    marks = [mark for tag in REPLY_TAGS[stage] for mark in (f"<{tag}>", f"</{tag}>")]
    text = f"<{REPLY_TAGS[stage][0]}>" + "".join(mark * 80 for mark in (*marks, *marks))
    plan = registry.plans("full", "published")[stage]
    begun = time.process_time()
    plan.score(text, NOTHING)
    assert time.process_time() - begun < 1.0
