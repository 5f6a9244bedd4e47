"""What all tests share: eight simulated devices, and tiny Qwen2 models made by transformers."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Before JAX is imported by anyone.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    # Programs of tests run for milliseconds and compile for seconds: better the other way round.
    " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)
# Each program compiles once for all tests and workers, and for the next run. With a bound
# on its size the cache is locked: nobody reads what another is still writing.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).parents[1] / ".pytest_cache" / "xla")
os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(1 << 30)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"

# What nohup or a script's background ignores would be ignored by each node that a test asks to end
# as well; what is handled here, by doing nothing, is not.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    """transformers' Qwen2Tokenizer with 320 tokens and Qwen's control tokens and chat template."""
    from tokenizers import AddedToken
    from transformers import Qwen2Tokenizer

    tokenizer = Qwen2Tokenizer().train_new_from_iterator(
        ["Ann has 3 apples and buys 14 more.\n", "user", "assistant", "system"] * 9,
        318,
        show_progress=False,
    )
    control = [AddedToken(token, special=True) for token in ("<|im_start|>", "<|im_end|>")]
    tokenizer.add_tokens(control)
    tokenizer.eos_token, tokenizer.pad_token = "<|im_end|>", "<|endoftext|>"
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Any]:
    """A function that makes a random float32 Qwen2ForCausalLM; keywords change its config.

    Its weights, biases and norms are far larger than an initialiser's, so that the logits are of
    the size of a trained model's and no term is too small to be missed.
    """
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    def make(seed: int = 0, **changes: Any) -> Qwen2ForCausalLM:
        sizes = {
            "vocab_size": 320,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "tie_word_embeddings": False,
        }
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(Qwen2Config(**(sizes | changes))).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                centre = float(parameter.dim() == 1) * parameter.mean()
                parameter.normal_(0.0, 0.15).add_(centre)
        return model

    return make


@pytest.fixture
def no_matmul_precision() -> Iterator[None]:
    """JAX multiplies as it does where nobody has set a precision, and as before afterwards."""
    import jax

    before = jax.config.jax_default_matmul_precision
    jax.config.update("jax_default_matmul_precision", None)
    yield
    jax.config.update("jax_default_matmul_precision", before)


@pytest.fixture(scope="session")
def model_directory(
    tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Any], tiny_tokenizer: Any
) -> Path:
    """A whole untied model as transformers saves it: weights, config, tokenizer, template."""
    directory = tmp_path_factory.mktemp("model")
    make_model().save_pretrained(directory)
    tiny_tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def real_weights() -> Callable[[str], Path]:
    """A function that finds NAME.gguf in the directory that JAXSWARM_WEIGHTS names, or skips."""

    def find(name: str) -> Path:
        directory = os.environ.get("JAXSWARM_WEIGHTS")
        if not directory:
            pytest.skip("JAXSWARM_WEIGHTS names no directory with real weights")
        path = Path(directory) / f"{name}.gguf"
        if not path.is_file():
            pytest.skip(f"{path} is not there")
        return path

    return find
