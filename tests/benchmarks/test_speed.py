"""The benchmarks of speed on a model small enough for a test: what they count, what they say."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
import torch

from benchmarks import compile as compile_
from benchmarks import contest, facts, generate, grpo_step, roofline, works
from benchmarks.sides.ours import make_params, ours
from benchmarks.work import Work, jax_peak_gb, torch_peak_gb

TINY = works.SHAPES["cpu"] | {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


pytestmark = pytest.mark.usefixtures("no_matmul_precision")


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
        recompute=False,
        repeats=1,
        train=True,
    )


def test_a_work_is_the_same_when_it_was_written_and_read(work, tmp_path):
    work.write(tmp_path)
    assert Work.read(tmp_path) == work
    assert (work.tokens, work.limit, work.group, work.is_even) == (48, 6, 4, True)


def test_a_step_is_timed_and_set_against_the_machine(work):
    measured = ours(work)
    assert jax.config.jax_default_matmul_precision == "highest", "as a node has it in float32"
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
    graph, params, _ = make_params(work)
    figures = roofline.decode(graph, params, work, generate_s=6.0, first_s=1.0)
    assert figures["decode_step_s"] == 1.0


def test_a_call_takes_its_share_of_those_that_are_waited_for_together(monkeypatch):
    clock = iter([0.0, 8.0, 10.0, 14.0])
    monkeypatch.setattr(roofline.time, "perf_counter", lambda: next(clock))
    called = []
    assert roofline.best_s(lambda: called.append(None), repeats=2, calls=4) == 1.0
    assert len(called) == 1 + 2 * 4


def test_copies_are_many_in_one_program_and_each_is_counted(monkeypatch):
    timed = []

    def best_s(run):
        timed.append((jax.make_jaxpr(run)(), run()))
        return 2.0

    monkeypatch.setattr(roofline, "best_s", best_s)
    bytes_per_s = roofline.copy_bytes_per_s()
    ((program, copied),) = timed
    assert f"length={roofline.COPIES}" in str(program), "a loop"
    assert jnp.all(copied == 1)
    assert bytes_per_s == (roofline.COPIES + 1) * 2 * copied.nbytes / 2.0


def test_an_accelerator_is_asked_for_many_calls_at_once(work, monkeypatch):
    graph, params, _ = make_params(work)
    asked: list[int] = []
    monkeypatch.setattr(roofline, "best_s", lambda _, calls: asked.append(calls) or 1.0)
    for backend in ("cpu", "gpu"):
        with monkeypatch.context() as patched:
            patched.setattr(jax, "default_backend", lambda backend=backend: backend)
            roofline.flops("float32")
            roofline.matmuls_s(graph, params, 4, "float32")
    assert asked == [1, 1, 20, 20]


def test_the_matmuls_are_timed_on_a_flat_list_of_weights_that_are_cast_before(work, monkeypatch):
    graph, params, _ = make_params(work)
    timed = []

    def best_s(run, calls):
        assert calls == 1
        assert isinstance(run.args[0], list), "no State to be taken apart for each call"
        timed.append(jax.make_jaxpr(run)())

    monkeypatch.setattr(roofline, "best_s", best_s)
    roofline.matmuls_s(graph, params, 4, "bfloat16")
    (program,) = (equation.params["jaxpr"] for equation in timed[0].eqns)
    assert {str(given.dtype) for given in program.in_avals} == {"bfloat16"}


def test_lengths_that_differ_are_drawn_as_given(work):
    uneven = replace(work, limits=((6, 1, 2, 3), (2, 2, 2, 2)), train=False)
    assert not uneven.is_even
    assert "decode_step_s" not in ours(uneven).rates


@pytest.mark.parametrize(
    ("train", "parts"), [(True, ["generate", "update"]), (False, ["generate"])]
)
def test_where_lengths_differ_compaction_is_timed_beside_none(work, train, parts):
    measured = ours(replace(work, limits=((6, 1, 2, 3), (2, 2, 2, 2)), train=train))
    assert list(measured.compaction_s) == parts
    for ways in measured.compaction_s.values():
        assert {way: len(seconds) for way, seconds in ways.items()} == {"with": 1, "without": 1}


def test_the_works_have_the_sizes_they_are_known_by(tmp_path):
    common = {"on_accelerator": False, "train": True, "recompute": True, "repeats": 1}
    common |= {"model": "", "data": ""}
    (cpu,) = works.works("cpu", tmp_path / "a", **common)
    assert (len(cpu.prompts), cpu.group, cpu.limit, cpu.is_even) == (1, 8, 128, True)
    assert [len(w.prompts) for w in works.works("gpu", tmp_path / "b", **common)] == [8, 32]
    (var,) = works.works("var", tmp_path / "c", **common)
    assert not var.is_even
    assert 32 <= min(var.limits[0]) < max(var.limits[0])
    on_gpu = works.works("var", tmp_path / "d", **(common | {"on_accelerator": True}))
    assert [work.limit for work in (var, *on_gpu)] == [128, 512, 512]


@pytest.mark.parametrize("benchmark", [generate, grpo_step, compile_], ids=lambda b: b.__name__)
def test_what_was_measured_before_a_kill_is_in_the_file(work, tmp_path, monkeypatch, benchmark):
    def measure(_, work, *__):
        if work.name == "second":
            raise KeyboardInterrupt
        return {"first_s": 3.0, "median_s": {"generate": 1.0, "step": 2.0}, "peak_gb": 1.0}

    both = [work, replace(work, name="second")]
    monkeypatch.setattr(contest, "asked_works", lambda *_, **__: both)
    monkeypatch.setattr(contest, "measure", measure)
    monkeypatch.setattr(facts, "RESULTS", tmp_path)
    monkeypatch.setattr(facts, "asked", lambda: {"device": "one"})
    monkeypatch.setattr(sys, "argv", ["benchmark", "--work=gpu"])
    with pytest.raises(KeyboardInterrupt):
        benchmark.main()
    (path,) = tmp_path.glob("*-gpu.json")
    written = json.loads(path.read_text())
    assert written["facts"] == {"device": "one"}
    assert "ours" in str(written["tiny"])


def test_facts_are_had_from_another_process_and_without_git(monkeypatch):
    assert facts.asked().keys() == facts.facts().keys()
    monkeypatch.setenv("PATH", "/nowhere")
    assert facts.facts()["commit"] == "unknown"


def test_the_peak_is_the_device_s_where_there_is_one(monkeypatch):
    stub = SimpleNamespace(memory_stats=lambda: {"peak_bytes_in_use": 7_000_000_000})
    assert 0 < jax_peak_gb() < 7
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", lambda: [stub])
    assert jax_peak_gb() == 7.0


def test_torch_tells_the_peak_of_its_own_device(monkeypatch):
    assert torch_peak_gb() == pytest.approx(jax_peak_gb(), rel=0.1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 5_000_000_000)
    assert torch_peak_gb() == 5.0


@pytest.mark.parametrize("side", ["ours", "transformers"])
def test_a_side_that_cannot_run_is_left_out_with_its_reason(work, tmp_path, capsys, side):
    figures = contest.measure(side, replace(work, dtype="float1"), tmp_path)
    assert figures["skipped"].startswith("exit code 1: ")
    assert "float1" in figures["skipped"]
    assert contest.ratio(figures, figures, "step") is None
    assert "Traceback" in capsys.readouterr().err
