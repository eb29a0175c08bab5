"""The roofline estimate against sums done by hand."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.config import ChipConfig, EncoderConfig
from benchmark.hardware.roofline import estimate

TINY = EncoderConfig(
    vocab_size=8,
    embedding_size=4,
    hidden_size=4,
    num_hidden_layers=2,
    num_attention_heads=2,
    intra_bottleneck_size=None,
    intermediate_size=8,
    num_feedforward_networks=1,
    trigram_input=False,
    key_query_shared_bottleneck=False,
    max_position_embeddings=8,
)
ARITHMETIC = ChipConfig(peak_flops=1.0, memory_bandwidth=1e30)
TRAFFIC = ChipConfig(peak_flops=1e30, memory_bandwidth=1.0, bytes_per_value=2)

# Products `(copies, m, k, n)` of one layer on 3 tokens: query, key, value and output; feed-forward; scores and context.
PRODUCTS = [(4, 3, 4, 4), (1, 3, 4, 8), (1, 3, 8, 4), (2, 3, 2, 3), (2, 3, 3, 2)]


def test_arithmetic_by_hand() -> None:
    result = estimate(TINY, ARITHMETIC, 1, 3)
    assert result.latency_s == pytest.approx(2 * sum(2 * c * m * k * n for c, m, k, n in PRODUCTS))
    assert (result.traffic_s, result.overhead_s) == (0.0, 0.0)


def test_traffic_by_hand() -> None:
    values = sum(c * (m * k + k * n + m * n) for c, m, k, n in PRODUCTS)
    result = estimate(TINY, TRAFFIC, 1, 3)
    assert result.latency_s == pytest.approx(2 * 2 * values)
    assert result.arithmetic_s == 0.0


def test_axes_are_padded_to_the_tile() -> None:
    chip = dataclasses.replace(ARITHMETIC, tile=8)
    # Every axis is at most 8, so every product costs one full tile.
    copies = sum(c for c, _, _, _ in PRODUCTS)
    assert estimate(TINY, chip, 1, 3).latency_s == pytest.approx(2 * 2 * copies * 8**3)
    assert estimate(TINY, chip, 1, 8) == estimate(TINY, chip, 1, 3)


def test_overhead_counts_operations() -> None:
    # Eight operations in each of two layers; the heads of a product are one operation.
    result = estimate(TINY, ChipConfig(peak_flops=1e30, memory_bandwidth=1e30, op_overhead_s=1.0), 4, 3)
    assert result.overhead_s == 2 * 8


def test_weights_that_fit_are_read_on_the_chip() -> None:
    slow = dataclasses.replace(TRAFFIC, on_chip_bandwidth=4.0)
    fast = dataclasses.replace(slow, on_chip_bytes=1e6)
    assert estimate(TINY, fast, 1, 3).traffic_s == pytest.approx(estimate(TINY, slow, 1, 3).traffic_s / 4)


@given(
    layers=st.integers(1, 20),
    batch=st.integers(1, 8),
    length=st.integers(1, 64),
    tile=st.sampled_from([1, 8, 128]),
    flops=st.floats(1e3, 1e12),
    overhead=st.floats(0, 1e-3),
)
def test_parts_sum_up_and_depth_costs(
    layers: int, batch: int, length: int, tile: int, flops: float, overhead: float
) -> None:
    chip = ChipConfig(peak_flops=flops, memory_bandwidth=1e6, tile=tile, op_overhead_s=overhead)
    shallow = dataclasses.replace(TINY, num_hidden_layers=layers)
    result = estimate(shallow, chip, batch, length)
    assert result.latency_s == pytest.approx(result.arithmetic_s + result.traffic_s + result.overhead_s)
    deeper = estimate(dataclasses.replace(shallow, num_hidden_layers=layers + 1), chip, batch, length)
    assert deeper.latency_s > result.latency_s
    assert estimate(shallow, chip, batch + 1, length).latency_s >= result.latency_s
