import pytest

from jaxswarm.errors import InputError
from jaxswarm.records import Discussion, Position, Question, Stage, StageOutput
from jaxswarm.stages.merge import merge
from jaxswarm.stages.prompts import FULL, TERSE, build
from jaxswarm.stages.registry import plans
from jaxswarm.stages.rewards import CORRECTED, score
from tests.stages.stage_examples import answer, critique, discussion, resolve

GOOD = {
    Stage.ANSWER: answer("7"),
    Stage.CRITIQUE: critique("Student #0"),
    Stage.RESOLVE: resolve("Student #0"),
}


@pytest.mark.parametrize(("name", "prompt_set"), [("full", FULL), ("terse", TERSE)])
@pytest.mark.parametrize("stage", Stage)
def test_a_plan_asks_and_pays_by_the_sets_it_was_named(stage: Stage, name: str, prompt_set) -> None:
    plan = plans(name, "corrected")[stage]
    talk = discussion(answer("7"), answer("12"))
    assert plan.stage == stage
    assert plan.prompt_set is prompt_set
    assert plan.messages(talk) == build(prompt_set, stage, talk)
    assert plan.score(GOOD[stage], talk) == score(CORRECTED, stage, GOOD[stage], talk)
    assert [s for s in Stage if plan.is_well_formed(GOOD[s])] == [stage]


def test_unknown_names_are_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"stages\.prompts: got 'long'; expected full or terse"):
        plans("long", "corrected")
    with pytest.raises(InputError, match=r"stages\.rewards: got 'generous'; expected corrected"):
        plans("full", "generous")


def test_three_nodes_go_through_a_round_and_agree_on_what_was_said() -> None:
    text = "Tom has 3 cups and gets 4 more. How many?"
    question = Question(Question.id_of(text), text, "7")
    said = {
        Stage.ANSWER: {"a": answer("7"), "b": answer("12"), "c": answer("7", working="4+3=7")},
        Stage.CRITIQUE: {},
        Stage.RESOLVE: {},
    }
    views = dict.fromkeys("abc", (Discussion(question),))
    rewards: dict[Stage, set[float]] = {}
    for index, (stage, plan) in enumerate(plans("full", "corrected").items()):
        outputs = {}
        for peer, (talk,) in views.items():
            # Each names peer a's answer by the number under which its own prompt shows it.
            number = [shown.peer for shown in talk.answers].index("a") if talk.answers else 0
            name = f"Student #{number}"
            reply = {
                Stage.ANSWER: said[Stage.ANSWER][peer],
                Stage.CRITIQUE: critique(name),
                Stage.RESOLVE: resolve(name, question=text),
            }[stage]
            group = ["no answer", reply]
            totals = [plan.score(completion, talk).total for completion in group]
            chosen = plan.choose("best", group, totals, talk)
            assert chosen == 1
            rewards.setdefault(stage, set()).add(totals[1])
            outputs[peer] = StageOutput(peer, Position(0, index), (plan.reply(reply, talk),))
        views = {
            peer: plan.merge(
                talk,
                [outputs[other] for other in outputs if other != peer],
                outputs[peer],
                limit=3,
                swarm_seed=5,
                max_peer_chars=2000,
            ).discussions
            for peer, talk in views.items()
        }
    assert views["a"] == views["b"] == views["c"]
    assert rewards == {Stage.ANSWER: {3.5, 1.5}, Stage.CRITIQUE: {5.25}, Stage.RESOLVE: {8.75}}


def test_the_plans_merge_is_the_stages_own() -> None:
    talk = (Discussion(Question("id", "1+1?", "2")),)
    own = StageOutput("a", Position(0, 0), ())
    for stage, plan in plans("terse", "corrected").items():
        limits = {"limit": 1, "swarm_seed": 0, "max_peer_chars": 1}
        assert plan.merge(talk, [], own, **limits) == merge(stage, talk, [], own, **limits)
