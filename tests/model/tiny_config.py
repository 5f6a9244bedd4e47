"""The shape of the models that tests make: small enough to compile in seconds."""

from jaxswarm.model.config import ModelConfig

CONFIG = ModelConfig(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=48,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    rope_theta=1e4,
    rms_norm_eps=1e-6,
    tie_embeddings=False,
    max_positions=512,
)
