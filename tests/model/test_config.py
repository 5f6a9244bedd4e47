"""config.json in and out."""

import pytest

from jaxswarm.errors import InputError
from jaxswarm.model.config import ModelConfig

# The config.json of Qwen2.5-1.5B-Instruct, its shape and constants.
QWEN_1_5B = {
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_act": "silu",
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "max_position_embeddings": 32768,
    "max_window_layers": 21,
    "model_type": "qwen2",
    "num_attention_heads": 12,
    "num_hidden_layers": 28,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}


def read(**changes) -> ModelConfig:
    values = {key: value for key, value in (QWEN_1_5B | changes).items() if value is not None}
    return ModelConfig.from_hf(values, source="somewhere")


def test_the_shape_of_qwen_1_5b_is_read_whole():
    assert read() == ModelConfig(
        vocab_size=151936,
        hidden_size=1536,
        intermediate_size=8960,
        num_layers=28,
        num_heads=12,
        num_kv_heads=2,
        head_dim=128,
        rope_theta=1e6,
        rms_norm_eps=1e-6,
        tie_embeddings=True,
        max_positions=32768,
    )


def test_the_number_of_parameters_is_the_published_one():
    assert read().num_parameters == 1_543_714_304
    assert read(tie_word_embeddings=False).num_parameters == 1_543_714_304 + 151_936 * 1536


def test_what_is_written_reads_back_the_same():
    config = read(tie_word_embeddings=False, head_dim=64)
    assert ModelConfig.from_hf(config.to_hf(), source="again") == config


def test_rope_theta_is_found_where_transformers_5_puts_it():
    parameters = {"rope_type": "default", "rope_theta": 5e5}
    assert read(rope_theta=None, rope_parameters=parameters).rope_theta == 5e5


def test_absent_constants_take_the_defaults_of_transformers():
    from transformers import Qwen2Config

    absent = ("rope_theta", "rms_norm_eps", "num_key_value_heads", "tie_word_embeddings")
    ours, theirs = read(**dict.fromkeys(absent)), Qwen2Config()
    assert (ours.rms_norm_eps, ours.tie_embeddings) == (
        theirs.rms_norm_eps,
        theirs.tie_word_embeddings,
    )
    assert ours.rope_theta == theirs.rope_parameters["rope_theta"]
    assert ours.num_kv_heads == ours.num_heads


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "llama"}, "model_type .* got 'llama'; expected 'qwen2'"),
        ({"model_type": None}, "model_type .* got None"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope_type .* 'yarn'"),
        ({"use_sliding_window": True}, "use_sliding_window .* got True"),
        ({"hidden_act": "gelu"}, "hidden_act .* 'gelu'"),
        ({"hidden_size": None}, "hidden_size"),
        ({"num_hidden_layers": "many"}, "many"),
        ({"num_attention_heads": 0}, "as numbers"),
        ({"num_key_value_heads": 5}, "num_key_value_heads .* got 5; expected a divisor of .*12"),
    ],
)
def test_a_model_that_this_port_cannot_run_is_one_clear_line(changes, named):
    with pytest.raises(InputError, match=named) as caught:
        read(**changes)
    assert "somewhere" in str(caught.value)
    assert "\n" not in str(caught.value)
