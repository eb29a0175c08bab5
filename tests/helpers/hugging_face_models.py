"""Small models whose files tests write and read in the form of `transformers`."""

import json
from pathlib import Path
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


def electra(**values: Any) -> EncoderConfig:
    """Makes the configuration of a small ELECTRA, with embedding projection."""
    return plain(**({"embedding_size": 10, "embedding_projection": True, "pooler": "gelu"} | values))


def roberta(**values: Any) -> EncoderConfig:
    """Makes the configuration of a small RoBERTa."""
    return plain(**({"type_vocab_size": 1, "position_offset": 2, "layer_norm_eps": 1e-5} | values))


def mpnet(**values: Any) -> EncoderConfig:
    """Makes the configuration of a small MPNet."""
    own = {"type_vocab_size": 0, "position_offset": 2, "relative_attention_num_buckets": 32, "layer_norm_eps": 1e-5}
    return plain(**(own | values))


def random_parameters(config: EncoderConfig, head: str, seed: int = 0) -> dict[str, Any]:
    """Draws parameters large enough to make every part matter; norms near 1."""
    heads = [head] if head else []
    # The pooler of DistilBERT and ELECTRA belongs to the classifier, that of the others to the encoder.
    pooled = ("classifier",) if config.pooler in ("relu", "gelu") else ("", "classifier", "next_sentence")
    if config.pooler != "none" and head in pooled:
        heads.append("pooler")
    state = {"classifier.bias": np.zeros(LABELS)}
    shapes = checkpoint_files.parameter_shapes(config, tuple(heads), state)
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        scale = path[-1].key == "scale"
        return (rng.standard_normal(leaf.shape) * (0.1 if scale else 0.2) + scale).astype(np.float32)

    return dict(jax.tree.map_with_path(draw, shapes))


def write_vocabulary(directory: Path, *, lower_case: bool = True) -> int:
    """Writes the tokenizer of a small WordPiece vocabulary: special tokens, letters and unused ones.

    Returns:
        Its size, 64.
    """
    letters = [chr(ord("a") + number) for number in range(26)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *letters, *(f"##{letter}" for letter in letters)]
    tokens += [f"[unused{number}]" for number in range(64 - len(tokens))]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    settings = {"do_lower_case": lower_case, "tokenizer_class": "BertTokenizer"}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return len(tokens)


def write_model(directory: Path, head: str = "", seed: int = 0, **values: Any) -> EncoderConfig:
    """Writes a whole Hugging Face directory of a small BERT of 64 tokens, with its tokenizer."""
    config = plain(**({"vocab_size": write_vocabulary(directory), "max_position_embeddings": 64} | values))
    params = random_parameters(config, head, seed)
    checkpoint_files.write(directory, config, params)
    return config
