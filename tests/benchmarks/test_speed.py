"""The benchmarks of speed on a model small enough for a test: what they count, what they say."""

import json
from dataclasses import replace

import pytest

from benchmarks import contest, roofline, works
from benchmarks.sides.ours import make_learner, ours
from benchmarks.work import Work

TINY = works.SHAPES["cpu"] | {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


@pytest.fixture
def work(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    return Work(
        name="tiny",
        model=str(tmp_path),
        dtype="float32",
        prompts=((5, 6, 7), (8, 9)),
        limits=((6,) * 4, (6,) * 4),
        beta=0.001,
        learning_rate=1e-6,
        micro_batches=1,
        repeats=1,
        train=True,
    )


def test_a_work_is_the_same_when_it_was_written_and_read(work, tmp_path):
    work.write(tmp_path)
    assert Work.read(tmp_path) == work
    assert (work.tokens, work.limit, work.group, work.is_even) == (48, 6, 4, True)


def test_a_step_is_timed_and_set_against_the_machine(work):
    measured = ours(work)
    assert len(measured.generate_s) == len(measured.step_s) == 1
    assert 0 < measured.generate_s[0] < measured.step_s[0]
    rates = measured.rates
    assert min(rates["matmuls_s"], rates["flops_per_s"]) > 0
    assert rates["train_s"] == measured.step_s[0] - measured.generate_s[0]
    parameters = rates["train_flops"] / 6 / (48 + 5)
    assert parameters == int(parameters)
    assert 128 * 32 < parameters < 10 * 128 * 32
    assert {"decode", "logprobs", "backward", "host"} <= set(measured.profile)


def test_a_decode_step_is_what_the_tokens_after_the_first_take_each(work):
    learner, graph = make_learner(work)
    figures = roofline.decode(learner, graph, work, generate_s=6.0, first_s=1.0)
    assert figures["decode_step_s"] == 1.0


def test_lengths_that_differ_are_drawn_as_given(work):
    uneven = replace(work, limits=((6, 1, 2, 3), (2, 2, 2, 2)), train=False)
    assert not uneven.is_even
    assert "decode_step_s" not in ours(uneven).rates


def test_where_lengths_differ_packing_is_timed_beside_none(work):
    measured = ours(replace(work, limits=((6, 1, 2, 3), (2, 2, 2, 2))))
    assert {way: len(seconds) for way, seconds in measured.updates_s.items()} == {
        "packed": 1,
        "unpacked": 1,
    }


def test_the_works_have_the_sizes_they_are_known_by(tmp_path):
    common = {"on_gpu": False, "train": True, "repeats": 1, "model": "", "data": ""}
    (cpu,) = works.works("cpu", tmp_path / "a", **common)
    assert (len(cpu.prompts), cpu.group, cpu.limit, cpu.is_even) == (1, 8, 128, True)
    assert [len(w.prompts) for w in works.works("gpu", tmp_path / "b", **common)] == [8, 32]
    (var,) = works.works("var", tmp_path / "c", **common)
    assert not var.is_even
    assert 32 <= min(var.limits[0]) < max(var.limits[0]) <= 128


def test_a_side_that_cannot_run_is_left_out_with_its_reason(work, tmp_path):
    figures = contest.measure("transformers", replace(work, model=str(tmp_path / "gone")), tmp_path)
    assert figures["skipped"].startswith("exit code 1: ")
    assert contest.ratio(figures, figures, "step") is None
