"""The embedded default as it lies in the package, and the tools that make it."""

import json
import random
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file
from transformers import AutoTokenizer

import jaxswarm
from jaxswarm.learner.generator import Generator
from jaxswarm.model import qwen2, sharding, sources, weights
from jaxswarm.model.config import ModelConfig
from jaxswarm.records import Discussion, PeerText, Stage
from jaxswarm.stages import dataset
from jaxswarm.stages.answers import is_correct
from jaxswarm.stages.prompts import TERSE, build
from jaxswarm.stages.rewards import CORRECTED, score
from jaxswarm.stages.tags import is_well_formed
from jaxswarm.stages.votes import vote_of
from jaxswarm.tokenizer import Tokenizer
from tools.embedded import demonstrations, make, problems, supervised, tokenizer
from tools.embedded.demonstrations import demonstrate
from tools.embedded.problems import Step, work
from tools.embedded.templates import HELD_OUT, TRAINING

EMBEDDED = Path(jaxswarm.__file__).parent / "embedded"
MODEL = EMBEDDED / "model"
PROBLEMS = EMBEDDED / "problems"
BIAS = "model.layers.0.self_attn.q_proj.bias"


def rows(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (PROBLEMS / f"{name}.jsonl").read_text().splitlines()]


def numbers(text: str) -> tuple[int, ...]:
    return tuple(sorted(map(int, re.findall(r"\d+", text))))


def frame(text: str) -> re.Pattern[str]:
    """Matches every problem that a template can make."""
    return re.compile(re.sub(r"\\{\w+\\}", r"[A-Za-z0-9]+", re.escape(text)))


@pytest.fixture(scope="module")
def config() -> ModelConfig:
    return ModelConfig.from_hf(json.loads((MODEL / "config.json").read_text()), source="embedded")


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return Tokenizer(MODEL)


# The problems.


def test_the_data_set_loads_with_all_its_rows():
    loaded = dataset.load(str(PROBLEMS), held_out_split="held_out")
    assert (len(loaded.train), len(loaded.held_out)) == (2000, 400)
    assert (loaded.skipped, loaded.repeated) == (0, 0)


def test_no_held_out_problem_has_the_numbers_of_a_training_problem():
    train, held_out = ({numbers(row["question"]) for row in rows(n)} for n in ("train", "held_out"))
    assert len(held_out) > 100
    assert not train & held_out


def test_no_sentence_frame_is_on_both_sides():
    sides = {"train": TRAINING, "held_out": HELD_OUT}
    other = {"train": HELD_OUT, "held_out": TRAINING}
    for name, templates in sides.items():
        own = [frame(template.text) for template in templates]
        foreign = [frame(template.text) for template in other[name]]
        for row in rows(name):
            assert any(pattern.fullmatch(row["question"]) for pattern in own)
            assert not any(pattern.fullmatch(row["question"]) for pattern in foreign)


def test_held_out_sentences_use_no_word_that_training_does_not_use():
    used = [
        set(re.findall(r"[A-Za-z]+", " ".join(template.text for template in side)))
        for side in (TRAINING, HELD_OUT)
    ]
    assert used[1] - used[0] == set()


@pytest.mark.parametrize("name", ["train", "held_out"])
def test_each_answer_column_works_out_to_its_gold_number(name: str):
    for row in rows(name):
        *equations, gold = row["answer"].split("\n")
        assert 1 <= len(equations) <= 3
        for equation in equations:
            left, operation, right, result = re.fullmatch(
                r"(\d+)([-+*/])(\d+)=(\d+)", equation
            ).groups()
            assert problems.apply(operation, int(left), int(right)) == int(result)
        assert gold == f"#### {result}"


def test_an_equation_out_of_range_gives_no_working():
    assert work([Step(3, "-", 5)]) is None
    assert work([Step(10, "*", 4)]) is None
    assert work([Step(7, "/", 2)]) is None
    assert work([Step(7, "+", 5), Step(None, "/", 3)]) == ("7+5=12", "12/3=4")


def test_the_same_seed_writes_the_same_problems(tmp_path: Path):
    for target, seed in (("a", 1), ("b", 1), ("c", 2)):
        problems.write_data_set(tmp_path / target, seed, 30, 10)
    a, b, c = ((tmp_path / t / "train.jsonl").read_text() for t in "abc")
    assert a == b
    assert a != c


# The demonstrations.


def drawn(stage: Stage, count: int) -> list[tuple[problems.Problem, str]]:
    random_ = random.Random(0)
    pairs = []
    for _ in range(count):
        problem = problems.draw(random_, TRAINING, held_out=False)
        pairs.append((problem, demonstrate(random_, stage, problem, 1).replies[0]))
    return pairs


@pytest.mark.parametrize("stage", Stage)
def test_some_demonstrations_are_badly_formed_and_most_are_not(stage: Stage):
    formed = np.mean([is_well_formed(stage, reply) for _, reply in drawn(stage, 400)])
    assert 0.6 < formed < 0.8


def test_about_half_of_the_demonstrated_answers_are_right():
    right = [is_correct(reply, str(problem.answer)) for problem, reply in drawn(Stage.ANSWER, 400)]
    assert 0.35 < np.mean(right) < 0.55


def test_a_demonstrated_working_is_correct_arithmetic_even_where_its_operation_is_wrong():
    for _, reply in drawn(Stage.ANSWER, 200):
        for left, operation, right, result in re.findall(r"(\d+)([-+*/])(\d+)=(\d+)", reply):
            assert problems.apply(operation, int(left), int(right)) == int(result)


def agreed(problem: problems.Problem) -> Discussion:
    """A discussion in which one peer answered right and was named by all."""
    equations = work(problem.steps)
    assert equations is not None
    right = f"<think>{';'.join(equations)}</think><answer>{problem.answer}</answer>"
    answered = Discussion(problem.asked, (PeerText("a", right),))
    critique = "<compare>1</compare><explain>1</explain><identify>#0</identify>"
    vote = vote_of(Stage.CRITIQUE, critique, answered)
    return replace(answered, critiques=(PeerText("a", critique, vote),))


def test_the_best_demonstrations_earn_the_whole_reward():
    random_ = random.Random(0)
    best = dict.fromkeys(Stage, 0.0)
    for _ in range(300):
        problem = problems.draw(random_, TRAINING, held_out=False)
        discussion = agreed(problem)
        for stage, write in demonstrations.WRITERS.items():
            reply = write(random_, problem, discussion)
            best[stage] = max(best[stage], score(CORRECTED, stage, reply, discussion).total)
    assert best == {
        stage: pytest.approx(sum(criterion.weight for criterion in CORRECTED[stage]))
        for stage in Stage
    }


# The tokenizer.


def reply(words: Tokenizer, text: str) -> list[int]:
    return words.encode_completions([text])[0]


def test_the_turn_ends_with_the_token_that_ends_a_reply(words: Tokenizer):
    loaded = AutoTokenizer.from_pretrained(MODEL, local_files_only=True)
    assert loaded.eos_token == tokenizer.TURN_END
    assert reply(words, "7")[-1] == loaded.eos_token_id


def test_each_reply_tag_is_one_ordinary_token(words: Tokenizer):
    for tag in tokenizer.reply_tags():
        (token, _) = reply(words, tag)
        assert words.decode([token]) == tag  # special tokens are left out of a text


@pytest.mark.parametrize("text", ["a\r\n\tb", "Größe 漢字 😀", "x < y > z", "</unknown>", "\x00"])
def test_any_text_encodes_and_comes_back(words: Tokenizer, text: str):
    assert words.decode(reply(words, text)) == text


def test_numbers_are_split_into_digits(words: Tokenizer):
    assert len(reply(words, "12345")) == 5 + 1


def test_the_words_of_the_problems_are_few_tokens(words: Tokenizer):
    questions = [row["question"] for row in rows("train")]
    tokens = sum(len(reply(words, question)) - 1 for question in questions)
    assert tokens < 1.5 * sum(len(question.split()) for question in questions)


def test_prompts_of_every_stage_fit_the_widths_that_the_model_was_trained_on(
    words: Tokenizer,
):
    random_ = random.Random(0)
    for stage, shape in supervised.SHAPES.items():
        fits = []
        for _ in range(300):
            shown = demonstrate(random_, stage, problems.draw(random_, TRAINING, held_out=False), 1)
            fits.append(
                len(words.encode_prompts([shown.messages])[0]) <= shape.prompt_width
                and len(reply(words, shown.replies[0])) <= shape.reply_width
            )
        assert np.mean(fits) > 0.95


# The model.


def test_the_model_is_as_small_as_promised_and_has_what_qwen2_has(config: ModelConfig):
    assert config.num_parameters <= 3_000_000
    assert config.num_kv_heads < config.num_heads
    assert config.tie_embeddings
    assert np.abs(load_file(MODEL / "model.safetensors")[BIAS]).max() > 0
    size = sum(path.stat().st_size for path in EMBEDDED.rglob("*") if path.is_file())
    assert size <= 10_000_000


def test_what_lies_in_the_package_is_what_the_tool_makes(config: ModelConfig):
    assert config == make.CONFIG


@pytest.fixture(scope="module")
def params() -> nnx.State:
    mesh = sharding.make_mesh(data=1, fsdp=1, tensor=1, devices=jax.devices()[:1])
    return weights.load(sources.open_source(str(MODEL)), mesh, "float32")


def test_transformers_gives_the_same_logits(
    config: ModelConfig, params: nnx.State, words: Tokenizer
):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    (prompt,) = words.encode_prompts([build(TERSE, Stage.CRITIQUE, agreed_example())])
    theirs = AutoModelForCausalLM.from_pretrained(MODEL, local_files_only=True, dtype=torch.float32)
    with torch.no_grad():
        expected = theirs(torch.tensor([prompt])).logits[0].numpy()
    model = nnx.merge(qwen2.abstract(config)[0], params)
    hidden, _ = model(np.array([[prompt]], np.int32))
    np.testing.assert_allclose(np.asarray(model.logits(hidden))[0, 0], expected, atol=1e-4)


def agreed_example() -> Discussion:
    return agreed(problems.draw(random.Random(0), TRAINING, held_out=False))


def test_reinforcement_has_something_to_do(
    config: ModelConfig, params: nnx.State, words: Tokenizer
):
    fresh = problems.draw_distinct(random.Random("fresh"), TRAINING, False, 128)
    mesh = sharding.make_mesh(data=1, fsdp=1, tensor=1, devices=jax.devices()[:1])
    generator = Generator(qwen2.abstract(config)[0], mesh, "float32")
    sampled, greedy = make.accuracy(partial(generator, params), words, fresh, samples=4)
    assert 0.3 <= sampled <= 0.6
    assert greedy > sampled


def test_the_same_seed_starts_the_same_training(words: Tokenizer):
    def start(seed: int) -> list[np.ndarray]:
        _, params = supervised.initial(make.CONFIG, seed)
        step = next(supervised.batches(words, seed))
        return [np.asarray(array) for array in jax.tree.leaves((params, step))]

    first, again, other = start(3), start(3), start(4)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert any(not np.array_equal(one, two) for one, two in zip(first, other, strict=True))


@pytest.mark.slow
def test_training_lowers_the_loss(words: Tokenizer):
    tiny = replace(make.CONFIG, hidden_size=32, intermediate_size=32, num_layers=1)
    steps = supervised.train(tiny, words, 3)
    losses = [next(steps)[1] for _ in range(40)]
    assert losses[-1] < 0.8 * losses[0]
