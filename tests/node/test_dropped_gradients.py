"""Gradients that are not finite: dropped, told, and the end of a run that has no others."""

import numpy as np
import pytest

from jaxswarm.errors import InputError
from jaxswarm.learner.learner import Learner
from jaxswarm.node.study import MAX_DROPPED
from jaxswarm.records import STAGES
from jaxswarm.swarm.local_exchange import Hub, LocalExchange
from tests.node.playing import config_of, one_device, play, reports

__all__ = ["one_device"]

pytestmark = pytest.mark.faults


@pytest.fixture
def overflow(monkeypatch):
    """Makes the sampler's log-probabilities of these generations overflow."""

    def at(*generations: int) -> None:
        generate, count = Learner.generate, [0]

        def overflowing(learner, *args, **kwargs):
            rollout = generate(learner, *args, **kwargs)
            count[0] += 1
            if count[0] - 1 in generations:
                return rollout._replace(logprob_QxGxC=np.full_like(rollout.logprob_QxGxC, np.nan))
            return rollout

        monkeypatch.setattr(Learner, "generate", overflowing)

    return at


def test_a_gradient_that_overflows_is_told_and_the_run_goes_on(tmp_path, capfd, overflow):
    config = config_of(tmp_path, rounds=2)
    config.evaluation.questions = 0
    overflow(0, 1, 4)
    assert play(config, LocalExchange(Hub(), "ann"))
    stages = reports(tmp_path).stages
    assert [bool(np.isfinite(stage.grad_norm)) for stage in stages] == [0, 0, 1, 1, 0, 1]
    assert capfd.readouterr().out.count("a gradient was dropped: its norm is nan") == 3


def test_a_run_whose_gradients_all_overflow_ends_with_a_line_and_keeps_what_it_had(
    tmp_path, overflow
):
    config = config_of(tmp_path, rounds=3)
    config.evaluation.questions = 0
    config.output.checkpoint_stages = 99
    overflow(*range(2, 99))
    with pytest.raises(InputError, match=rf"gradients: got '{MAX_DROPPED} in a row.*learning_rate"):
        play(config, LocalExchange(Hub(), "ann"))
    (kept,) = (tmp_path / "checkpoints").glob("[0-9]*")
    assert int(kept.name) == 2 + MAX_DROPPED - 1 > len(STAGES)
