"""Small architectures for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from benchmark.config import EncoderConfig

if TYPE_CHECKING:
    from benchmark.models.trees import Params


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


def small_bert(**changes: Any) -> EncoderConfig:
    """Makes a BERT of one layer, 16 wide, and 40 tokens, with a pooler, and with changes."""
    values: dict[str, Any] = {
        "embedding_size": 16,
        "intra_bottleneck_size": None,
        "key_query_shared_bottleneck": False,
        "trigram_input": False,
        "normalization_type": "layer_norm",
        "pooler": "tanh",
    }
    return small_encoder(**(values | changes))


def trained_like(params: Params) -> Params:
    """Adds noise to initial parameters: no bias is 0 and no scale is 1 after a training."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: leaf + np.float32(0.01) * rng.standard_normal(leaf.shape, np.float32), params)
