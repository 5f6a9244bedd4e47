"""The experiment's arithmetic: intervals, regret, importance weights, when a run is over."""

import os
import re
import tarfile

import numpy as np
import pytest
from scipy import stats

from benchmarks.learning import defaults, page, records, sharing
from benchmarks.learning.course import HOPELESS_UPDATES, Course
from benchmarks.learning.further_problems import four_steps, new_numbers
from benchmarks.learning.measures import majority
from benchmarks.learning.play import rotated
from benchmarks.learning.statistics import interval, relative_regret, time_average
from benchmarks.learning.twin import Spent
from configs import tiny
from jaxswarm.learner.train_step import Batch
from jaxswarm.records import Position, Reply, StageOutput
from tools.embedded.problems import is_held_out


def test_an_interval_holds_the_mean_and_widens_with_what_runs_and_questions_differ():
    same = interval(np.full((5, 40), 0.25))
    assert (same.low, same.mean, same.high) == (0.25, 0.25, 0.25)
    random_ = np.random.default_rng(1)
    questions_differ = np.tile(random_.random((1, 400)), (5, 1))
    runs_differ = np.tile(random_.random((5, 1)), (1, 400))
    by_questions, by_runs = interval(questions_differ), interval(runs_differ)
    # The standard error of a mean: s / sqrt(n); 95% lie within 1.96 of them.
    expected = 1.96 * questions_differ[0].std() / np.sqrt(400)
    assert (by_questions.high - by_questions.low) / 2 == pytest.approx(expected, rel=0.1)
    assert by_runs.high - by_runs.low > 3 * (by_questions.high - by_questions.low)


def test_an_interval_over_few_runs_is_that_of_student():
    values = np.array([[0.1], [0.3], [0.2], [0.5], [0.4]])
    found = interval(values)
    half = stats.t.ppf(0.975, 4) * values.std(ddof=1) / np.sqrt(5)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)


def test_one_run_has_no_interval_and_nothing_is_said_of_it():
    one = interval(np.ones((1, 40)))
    assert np.isnan(one.low)
    assert not one.excludes_zero
    assert page.verdict(one, one) == "too few runs to say anything"


def test_a_difference_is_called_shown_only_where_the_interval_excludes_zero():
    noisy = interval(np.array([[0.3], [-0.2], [0.1], [-0.3], [0.2]]))
    clear = interval(np.array([[0.3], [0.2], [0.25], [0.3], [0.2]]))
    assert page.verdict(noisy, noisy) == "**no difference shown**"
    assert page.verdict(clear, clear) == "**better, shown by both**"
    assert page.verdict(noisy, clear) == "**better, shown by one of the two measures alone**"


def solo_run(seed: int, after: list[float]) -> records.Run:
    told = {"tokens": 6e4, "commit": "abc", "versions": {"jax": "1"}, "cpu": "some"}
    measured = {"greedy": after, "sampled": after}
    node = {"before": dict.fromkeys(measured, [0.0] * len(after)), "after": measured}
    return {"seed": seed, "facts": told, "nodes": [node]}


def test_the_table_of_defaults_sets_a_value_against_the_default_with_the_same_seeds():
    found = {
        "default": [solo_run(seed, [0.5, 0.5]) for seed in range(3)],
        "grpo.beta=0.04": [solo_run(seed, [0.25, 0.25]) for seed in range(2)],
    }
    *_, default, beta = defaults.page(tiny.get_config(), found).splitlines()
    assert default == "| all | as configured | 3 | 50.0 [50.0, 50.0] |  |  |"
    gap = "-25.0 [-25.0, -25.0]"
    assert beta == (
        f"| `grpo.beta` | 0.04 in place of 0.0 | 2 | 25.0 [25.0, 25.0] | {gap} | {gap} |"
    )


def test_packed_runs_are_read_again_and_their_archive_does_not_tell_when_they_were_packed(tmp_path):
    runs = [{"arm": "solo"} | solo_run(seed, [0.5, 1.0]) for seed in range(2)]
    archives = []
    for name in ("here", "elsewhere"):
        for run in runs:
            os.utime(records.write(tmp_path / name, run), (len(archives), len(archives)))
        archives.append(tmp_path / f"{name}.tar.xz")
        records.pack(tmp_path / name, archives[-1])
    assert archives[0].read_bytes() == archives[1].read_bytes()
    with tarfile.open(archives[0]) as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    assert records.read(tmp_path / "unpacked") == {"solo": runs}


def test_regret_is_what_the_better_of_two_has_more():
    own, other = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 1.0])
    np.testing.assert_array_equal(relative_regret(own, other), [1, 0, 0])
    np.testing.assert_allclose(time_average(relative_regret(own, other)), [1, 1 / 2, 1 / 3])


def test_ratios_of_external_tokens_are_truncated_importance_weights_and_own_ones_stay():
    own = np.log(np.array([[[0.5, 0.2]], [[0.1, 0.8]]])).reshape(1, 2, 2)
    drawn = np.log(np.array([[[0.4, 0.3]], [[0.4, 0.2]]])).reshape(1, 2, 2)
    nothing = np.zeros(1)
    batch = Batch(nothing, nothing, nothing, nothing, drawn, nothing, nothing)
    batch = sharing.corrected(batch, own, 1)
    np.testing.assert_array_equal(batch.logprob_QxGxC[:, 0], drawn[:, 0])
    weights = np.exp(own - batch.logprob_QxGxC)[0, 1]
    # 0.1 / 0.4, and 0.8 / 0.2 = 4 cut to 2.
    np.testing.assert_allclose(weights, [0.25, sharing.TRUNCATION])


class Told:
    """As a twin that has spent so much."""

    def __init__(self, updates: int, uniform: float):
        self.spent = [Spent(100, 100, uniform)] * updates


def test_a_course_is_over_when_its_tokens_are_spent_whoever_asks_first():
    learners = [Told(12, 0.5), Told(9, 0.5)]
    course = Course(learners, 3, tokens=900, measurements=3)
    assert [course.after(rounds).measure for rounds in (1, 2, 3)] == [True, True, True]
    assert [course.after(rounds).over for rounds in (1, 2, 3)] == [False, False, True]
    assert [Course(learners, 3, 1800, 3).after(r).measure for r in (1, 2, 3)] == [0, 1, 0]


def test_a_course_ends_when_nothing_can_be_learnt():
    rounds = HOPELESS_UPDATES // 3
    dull, lively = Told(HOPELESS_UPDATES, 0.9), Told(HOPELESS_UPDATES, 0.7)
    assert Course([dull], 3, 1e9, 8).after(rounds).hopeless
    assert not Course([dull], 3, 1e9, 8).after(rounds - 1).over
    assert not Course([lively], 3, 1e9, 8).after(rounds).over


def test_a_placebo_shows_each_answer_under_another_question():
    replies = tuple(Reply(f"q{index}", f"answer {index}") for index in range(3))
    turned = rotated(StageOutput("ann", Position(0, 0), replies)).replies
    assert [reply.question_id for reply in turned] == ["q0", "q1", "q2"]
    assert [reply.text for reply in turned] == ["answer 1", "answer 2", "answer 0"]


def test_a_majority_is_that_of_numbers_and_blank_texts_have_no_vote():
    texts = ["<answer>7</answer>", "", "<answer>$8</answer>", "<answer>8.0</answer>"]
    assert majority(texts) == "8"
    assert majority(["", "x"]) is None


@pytest.mark.parametrize("draw", [four_steps, new_numbers])
def test_further_problems_are_always_the_same_and_hold_numbers_that_no_training_problem_has(draw):
    asked = draw(20)
    assert len({question.id for question in asked}) == 20
    assert asked == draw(20)
    assert all(question.gold.isdigit() for question in asked)
    assert all(
        is_held_out([int(n) for n in re.findall(r"\d+", question.text)]) for question in asked
    )


def test_a_curve_is_read_between_its_points():
    node = {"curve": [{"tokens": 0, "accuracy": 0.2}, {"tokens": 100, "accuracy": 0.6}]}
    run = {"arm": "solo", "seed": 0, "nodes": [node]}
    np.testing.assert_allclose(
        records.curve([run], "accuracy", np.array([25.0, 50.0])), [[0.3, 0.4]]
    )
    assert records.tokens_to(run, 0.4) == pytest.approx(50, abs=1)
    assert records.tokens_to(run, 0.7) is None
