"""The shape of a Qwen2 or Qwen2.5 model, read from Hugging Face's config.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxswarm.errors import InputError


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Sizes and constants of one model. Letters as in `jaxswarm.model.qwen2`."""

    vocab_size: int
    """V"""
    hidden_size: int
    """D"""
    intermediate_size: int
    """F"""
    num_layers: int
    num_heads: int
    """N, query heads"""
    num_kv_heads: int
    """K, key-value heads; divides N"""
    head_dim: int
    """H"""
    rope_theta: float
    rms_norm_eps: float
    tie_embeddings: bool
    """True: the output head is the embedding, transposed."""
    max_positions: int
    """Tokens the model was trained to attend over."""

    @classmethod
    def from_hf(cls, values: Mapping[str, Any], *, source: str) -> "ModelConfig":
        """Reads the parsed config.json of a Qwen2 model.

        Args:
          values: what config.json holds (transformers 4 and 5 place rope_theta differently).
          source: where it came from, for the error's text.

        Raises:
          InputError: another architecture, a feature this port has not, or a missing size.
        """
        kind = values.get("model_type")
        if kind != "qwen2":
            raise InputError(
                f"model_type in the config of {source}",
                got=kind,
                expected="'qwen2' (Qwen2 and Qwen2.5 models)",
                remedy="name a Qwen2.5 model in its place",
            )
        rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
        rope_type = rope.get("rope_type", rope.get("type", "default"))
        for feature, got, expected in (
            ("rope_type", rope_type, "default"),
            ("use_sliding_window", bool(values.get("use_sliding_window", False)), False),
            ("hidden_act", values.get("hidden_act", "silu"), "silu"),
        ):
            if got != expected:
                raise InputError(
                    f"{feature} in the config of {source}",
                    got=got,
                    expected=repr(expected),
                    remedy="this port does not know that variant; choose another model",
                )
        try:
            heads = int(values["num_attention_heads"])
            hidden = int(values["hidden_size"])
            theta = rope.get("rope_theta", values.get("rope_theta"))
            config = cls(
                vocab_size=int(values["vocab_size"]),
                hidden_size=hidden,
                intermediate_size=int(values["intermediate_size"]),
                num_layers=int(values["num_hidden_layers"]),
                num_heads=heads,
                num_kv_heads=int(values.get("num_key_value_heads") or heads),
                head_dim=int(values.get("head_dim") or hidden // heads),
                rope_theta=float(10_000.0 if theta is None else theta),
                rms_norm_eps=float(values.get("rms_norm_eps", 1e-6)),
                tie_embeddings=bool(values.get("tie_word_embeddings", False)),
                max_positions=int(values.get("max_position_embeddings", 32_768)),
            )
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise InputError(
                f"config of {source}",
                got=str(error),
                expected="vocab_size, hidden_size, intermediate_size, num_hidden_layers, "
                "num_attention_heads as numbers",
                remedy="fetch the model's config.json anew",
            ) from error
        if config.num_heads % config.num_kv_heads:
            raise InputError(
                f"num_key_value_heads in the config of {source}",
                got=config.num_kv_heads,
                expected=f"a divisor of num_attention_heads={config.num_heads}",
                remedy="fetch the model's config.json anew",
            )
        return config

    def to_hf(self) -> dict[str, Any]:
        """The config.json of this shape, as transformers reads it (without token ids)."""
        return {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "rope_theta": self.rope_theta,
            "rms_norm_eps": self.rms_norm_eps,
            "tie_word_embeddings": self.tie_embeddings,
            "max_position_embeddings": self.max_positions,
            "use_sliding_window": False,
        }

    @property
    def num_parameters(self) -> int:
        """Number of weights, the tied head counted once."""
        d, f = self.hidden_size, self.intermediate_size
        query, key_value = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        attention = 2 * d * query + 2 * d * key_value + query + 2 * key_value
        layer = attention + 3 * d * f + 2 * d
        embeddings = self.vocab_size * d * (1 if self.tie_embeddings else 2)
        return self.num_layers * layer + embeddings + d
