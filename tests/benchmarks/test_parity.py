"""The benchmark that sets real weights against transformers, with the embedded model."""

from pathlib import Path

import numpy as np
import pytest

import jaxswarm
from benchmarks.parity import answer_prompts
from benchmarks.parity_side import Task, ours, theirs

EMBEDDED = Path(jaxswarm.__file__).parent / "embedded"

pytestmark = pytest.mark.usefixtures("no_matmul_precision")


def test_both_sides_give_the_same_tokens_and_logits(tmp_path: Path):
    problems = EMBEDDED / "problems"
    for split, name in (("train", "train"), ("test", "held_out")):
        (tmp_path / f"{split}.jsonl").symlink_to(problems / f"{name}.jsonl")
    model = str(EMBEDDED / "model")
    prompts = answer_prompts(EMBEDDED / "model", str(tmp_path), 3)
    task = Task({"ours": model, "theirs": model}, prompts, greedy=3, tokens=12, logits=2)
    (own, own_logits), (other, other_logits) = ours(task), theirs(task)
    assert len(own.tokens) == 3
    assert own.tokens == other.tokens
    for own_TxV, other_TxV in zip(own_logits, other_logits, strict=True):
        np.testing.assert_allclose(own_TxV, other_TxV, atol=1e-4)
