"""A tiny GGUF file, written by llama.cpp's own library."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np


def write(path: Path, model: Any, tokenizer: Any = None, quantised: str = "F32") -> Path:
    """Writes a Qwen2ForCausalLM of transformers; matrices in the block format `quantised`.

    A tied head is left out, as llama.cpp does. Without a tokenizer the file has none.
    """
    config = model.config
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if tokenizer is not None:
        _add_tokenizer(writer, tokenizer, config.vocab_size)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.num_hidden_layers)
    kind = gguf.GGMLQuantizationType[quantised]
    for name, parameter in model.named_parameters():
        tensor = parameter.detach().numpy()
        theirs = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if tensor.ndim == 1:
            writer.add_tensor(theirs, tensor)
        else:
            writer.add_tensor(theirs, gguf.quantize(tensor, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Any, vocab_size: int) -> None:
    of_id = {index: token for token, index in tokenizer.get_vocab().items()}
    special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    tokens = [of_id.get(index, f"[PAD{index}]") for index in range(vocab_size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [
            gguf.TokenType.CONTROL
            if index in special
            else gguf.TokenType.NORMAL
            if index in of_id
            else gguf.TokenType.UNUSED
            for index in range(vocab_size)
        ]
    )
    merges = [" ".join(pair) for pair in _merges(tokenizer)]
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)


def _merges(tokenizer: Any) -> list[tuple[str, str]]:
    import json

    return json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]


def dequantised(model: Any, quantised: str) -> dict[str, np.ndarray]:
    """The tensors that such a file holds, as the library itself reads them back."""
    kind = gguf.GGMLQuantizationType[quantised]
    tensors = {}
    for name, parameter in model.named_parameters():
        tensor = parameter.detach().numpy()
        if tensor.ndim > 1:
            tensor = gguf.dequantize(gguf.quantize(tensor, kind), kind)
        tensors[name] = tensor
    return tensors
