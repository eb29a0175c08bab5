"""The smallest possible architectures and inputs for tests of latency."""

import numpy as np

from benchmark.config import LatencyConfig
from benchmark.latency.inputs import Rows, choose_rows
from tests.helpers.encoders import small_encoder

TINY = small_encoder(
    vocab_size=20, hidden_size=8, num_attention_heads=1, intermediate_size=8, max_position_embeddings=8
)
# ONNX can express BERT's layer alone.
PLAIN = small_encoder(
    vocab_size=20,
    embedding_size=8,
    hidden_size=8,
    intra_bottleneck_size=None,
    trigram_input=False,
    key_query_shared_bottleneck=False,
    normalization_type="layer_norm",
    max_position_embeddings=8,
)
CONFIG = LatencyConfig(
    reference=TINY,
    batch_sizes=(1,),
    sequence_lengths=(8,),
    processes=2,
    max_processes=2,
    headline_factor=1,
    pairs=10,
    min_seconds=0.0,
    warm_up_seconds=0.2,
    max_noise_floor=100.0,
    max_other_cores=1000.0,
    timeout_s=120.0,
)


def make_rows(vocab_size: int = 20, length: int = 8) -> dict[int, Rows]:
    ids = np.random.default_rng(0).integers(1, vocab_size, (30, length))
    ids[:, length // 2 :] *= np.random.default_rng(1).integers(0, 2, (30, 1))
    return {n: choose_rows({"made up": {"input_ids": ids}}, n, 0, 0) for n in (length // 2, length)}


ROWS = make_rows()


def quiet(line: str) -> None:
    """Takes progress lines."""
