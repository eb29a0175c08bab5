"""Small architectures for tests."""

from __future__ import annotations

from typing import Any

from benchmark.config import EncoderConfig


def small_encoder(**changes: Any) -> EncoderConfig:
    """Makes a MobileBERT of one layer and 40 tokens, with start values large enough to matter, and with changes."""
    values: dict[str, Any] = {
        "vocab_size": 40,
        "embedding_size": 8,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intra_bottleneck_size": 8,
        "intermediate_size": 16,
        "num_feedforward_networks": 1,
        "max_position_embeddings": 24,
        "initializer_range": 0.1,
    }
    return EncoderConfig(**(values | changes))
