"""The roofline estimate against sums done by hand."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.config import ChipConfig, ConfigError, EncoderConfig
from benchmark.hardware.roofline import LIMITS, estimate, latency_floor

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
    assert result.latency_s == result.arithmetic_s
    assert result.limit == "arithmetic"
    # Without padding the arithmetic is the floor.
    assert latency_floor(TINY, ARITHMETIC, 1, 3) == pytest.approx(result.latency_s)


def test_products_below_the_peak_cost_more_and_leave_the_floor() -> None:
    slower = dataclasses.replace(ARITHMETIC, sustained_flops=0.25)
    assert estimate(TINY, slower, 1, 3).arithmetic_s == pytest.approx(4 * estimate(TINY, ARITHMETIC, 1, 3).arithmetic_s)
    assert latency_floor(TINY, slower, 1, 3) == latency_floor(TINY, ARITHMETIC, 1, 3)


def test_traffic_by_hand() -> None:
    values = sum(c * (m * k + k * n + m * n) for c, m, k, n in PRODUCTS)
    result = estimate(TINY, TRAFFIC, 1, 3)
    assert result.latency_s == result.memory_s == pytest.approx(2 * 2 * values)
    assert result.limit == "memory"


def test_vector_work_by_hand() -> None:
    # Bias 1; softmax 16; activation relu 1; NoNorm 2 and residual 1 after attention and feed-forward.
    work = 3 * (3 * 4) + 3 * 4 * 4 + 3 * 8 * 2 + 3 * 4 * 4 + 2 * 3 * 3 * 16
    result = estimate(TINY, dataclasses.replace(ARITHMETIC, peak_flops=1e30, vector_flops=1.0), 1, 3)
    assert result.latency_s == result.vector_s == pytest.approx(2 * work)
    assert result.limit == "vector"
    gelu = dataclasses.replace(TINY, hidden_act="gelu", normalization_type="layer_norm")
    slower = estimate(gelu, dataclasses.replace(ARITHMETIC, peak_flops=1e30, vector_flops=1.0), 1, 3)
    # Of each layer norm two operations stand alone, for mean and variance, two on each value.
    assert slower.vector_s == pytest.approx(2 * (work + 3 * 8 * 14 + 2 * 3 * 4 * (6 + 2 * 2)))


def test_a_bias_of_scores_is_read_and_added() -> None:
    biased = dataclasses.replace(TINY, relative_attention_num_buckets=4)
    scores = 2 * 2 * 3 * 3
    assert estimate(biased, TRAFFIC, 1, 3).memory_s - estimate(TINY, TRAFFIC, 1, 3).memory_s == 2 * scores
    vector = dataclasses.replace(ARITHMETIC, peak_flops=1e30, vector_flops=1.0)
    assert estimate(biased, vector, 1, 3).vector_s - estimate(TINY, vector, 1, 3).vector_s == scores
    assert latency_floor(biased, ARITHMETIC, 1, 3) == latency_floor(TINY, ARITHMETIC, 1, 3)


def test_an_embedding_projection_is_one_more_product() -> None:
    narrow = dataclasses.replace(TINY, embedding_size=2, embedding_projection=True)
    more = estimate(narrow, ARITHMETIC, 1, 3).latency_s - estimate(TINY, ARITHMETIC, 1, 3).latency_s
    assert more == 2 * 3 * 2 * 4


def test_axes_are_padded_to_the_tile() -> None:
    chip = dataclasses.replace(ARITHMETIC, tile=8)
    # Every axis is at most 8, so every product costs one full tile, and seven more rows until the unit is full.
    copies = sum(c for c, _, _, _ in PRODUCTS)
    assert estimate(TINY, chip, 1, 3).latency_s == pytest.approx(2 * 2 * copies * (8 + 7) * 8**2)
    assert estimate(TINY, chip, 1, 8) == estimate(TINY, chip, 1, 3)


def test_overhead_counts_operations() -> None:
    # Eight operations in each of two layers; the heads of a product are one operation.
    result = estimate(TINY, ChipConfig(peak_flops=1e30, memory_bandwidth=1e30, op_overhead_s=1.0), 4, 3)
    assert result.overhead_s == 2 * 8


def test_weights_that_fit_are_read_on_the_chip() -> None:
    values = sum(c * (m * k + k * n + m * n) for c, m, k, n in PRODUCTS)
    weights = 4 * 4 * 4 + 2 * 4 * 8
    bound = dataclasses.replace(TRAFFIC, on_chip_bandwidth=1e30)
    assert estimate(TINY, bound, 1, 3).latency_s == pytest.approx(2 * 2 * weights)
    fast = dataclasses.replace(TRAFFIC, on_chip_bandwidth=4.0, on_chip_bytes=1e6)
    assert estimate(TINY, fast, 1, 3).latency_s == pytest.approx(2 * 2 * (values - weights) / 4)
    assert estimate(TINY, fast, 1, 3).limit == "on_chip"


def test_a_fused_feed_forward_keeps_what_is_between() -> None:
    chip = dataclasses.replace(TRAFFIC, on_chip_bandwidth=4.0, on_chip_bytes=1e6, op_overhead_s=100.0)
    apart = estimate(TINY, chip, 1, 3)
    fused = estimate(TINY, dataclasses.replace(chip, fused_feedforward_bytes=2 * 2 * 4 * 8), 1, 3)
    assert fused.overhead_s == apart.overhead_s - 2 * 100.0
    assert fused.on_chip_s == pytest.approx(apart.on_chip_s - 2 * 2 * (2 * 3 * 8) / 4)
    assert fused.arithmetic_s == pytest.approx(apart.arithmetic_s)
    too_large = dataclasses.replace(chip, fused_feedforward_bytes=2 * 2 * 4 * 8 - 1)
    assert estimate(TINY, too_large, 1, 3) == apart


@pytest.mark.parametrize("field", ["peak_flops", "memory_bandwidth"])
def test_a_missing_figure_is_named(field: str) -> None:
    changes: dict[str, Any] = {field: 0.0}
    chip = dataclasses.replace(ARITHMETIC, name="made_up", **changes)
    with pytest.raises(ConfigError, match=rf"ChipConfig\.{field} = 0\.0: .*gin/hardware/made_up\.gin.*'roofline'"):
        estimate(TINY, chip, 1, 3)


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
    parts = [getattr(result, f"{name}_s") for name in LIMITS]
    assert result.latency_s == pytest.approx(sum(parts))
    assert result.latency_s >= latency_floor(shallow, chip, batch, length) * (1 - 1e-9)
    deeper = estimate(dataclasses.replace(shallow, num_hidden_layers=layers + 1), chip, batch, length)
    assert deeper.latency_s > result.latency_s
    assert estimate(shallow, chip, batch + 1, length).latency_s >= result.latency_s
