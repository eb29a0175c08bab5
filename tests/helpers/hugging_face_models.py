"""Small models whose files tests write and read in the form of `transformers`."""

from typing import Any

import jax
import numpy as np

from benchmark.config import EncoderConfig
from benchmark.export import checkpoint_files

LABELS = 3


def plain(**values: Any) -> EncoderConfig:
    """Makes the configuration of a small BERT."""
    small: dict[str, Any] = {
        "vocab_size": 50,
        "embedding_size": 24,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intra_bottleneck_size": None,
        "intermediate_size": 40,
        "num_feedforward_networks": 1,
        "hidden_act": "gelu",
        "normalization_type": "layer_norm",
        "trigram_input": False,
        "key_query_shared_bottleneck": False,
        "max_position_embeddings": 16,
        "pooler": "tanh",
    }
    return EncoderConfig(**(small | values))


def random_parameters(config: EncoderConfig, head: str, seed: int = 0) -> dict[str, Any]:
    """Draws parameters large enough to make every part matter; norms near 1."""
    heads = [head] if head else []
    # DistilBERT's pooler belongs to its classifier, BERT's and MobileBERT's to the encoder.
    pooled = ("classifier",) if config.pooler == "relu" else ("", "classifier", "next_sentence")
    if config.pooler != "none" and head in pooled:
        heads.append("pooler")
    state = {"classifier.bias": np.zeros(LABELS)}
    shapes = checkpoint_files.parameter_shapes(config, tuple(heads), state)
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        scale = path[-1].key == "scale"
        return (rng.standard_normal(leaf.shape) * (0.1 if scale else 0.2) + scale).astype(np.float32)

    return dict(jax.tree.map_with_path(draw, shapes))
