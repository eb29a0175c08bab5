"""Inputs of the programs of `tests.helpers.portable_programs`: rows, architectures, digests of plain values."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def bytes_digest(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def json_digest(value: Any) -> str:
    return bytes_digest(json.dumps(value, sort_keys=True, allow_nan=False).encode())


def special(vocab_size: int = 200) -> Any:
    from benchmark.training.masking import SpecialTokens

    return SpecialTokens(vocab_size=vocab_size, pad_id=0, cls_id=2, sep_id=3, mask_id=4)


def token_rows(count: int, length: int, vocab_size: int = 200, *, pairs: bool = False) -> Any:
    """Makes `[CLS] tokens [SEP]` rows, full or padded; with `pairs` in two parts, and a label."""
    import numpy as np

    from tasks.arrays.token_arrays import TokenArrays

    rng = np.random.default_rng(0)
    ids = rng.integers(5, vocab_size, (count, length)).astype(np.int32)
    for row, size in enumerate(rng.integers(length // 2, length + 1, count)):
        ids[row, 0], ids[row, size - 1], ids[row, size:] = 2, 3, 0
    features: dict[str, np.ndarray] = {"input_ids": ids}
    if pairs:
        features["token_type_ids"] = np.tile(np.arange(length) >= length // 4, (count, 1)).astype(np.uint8)
        features["next_sentence_label"] = rng.integers(0, 2, count).astype(np.int32)
    return TokenArrays(Path(), features, {"rows": count})


def plain(**changes: Any) -> Any:
    """Makes a plain BERT of two layers, as the teacher of the micro track but narrower."""
    from benchmark.config import EncoderConfig

    values: dict[str, Any] = {
        "vocab_size": 200,
        "embedding_size": 32,
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intra_bottleneck_size": None,
        "intermediate_size": 96,
        "num_feedforward_networks": 1,
        "hidden_act": "gelu",
        "normalization_type": "layer_norm",
        "trigram_input": False,
        "key_query_shared_bottleneck": False,
        "max_position_embeddings": 64,
        "initializer_range": 0.1,
    }
    return EncoderConfig(**(values | changes))


def bottleneck(**changes: Any) -> Any:
    """Makes a student in MobileBERT's form."""
    return plain(
        **{
            "hidden_size": 48,
            "num_attention_heads": 2,
            "intra_bottleneck_size": 16,
            "intermediate_size": 32,
            "num_feedforward_networks": 2,
            "hidden_act": "relu",
            "normalization_type": "no_norm",
            "trigram_input": True,
            "key_query_shared_bottleneck": True,
        }
        | changes
    )
