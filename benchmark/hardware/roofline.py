"""Roofline latency: pure arithmetic over the matrix products of an encoder and the figures of a chip.

Each product costs the larger of its arithmetic at peak rate, with every axis padded to the chip's tile, and its traffic
at memory bandwidth, plus a fixed overhead for each operation. Where all weights fit on the chip, they are read from
there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmark.config import ChipConfig, EncoderConfig
from benchmark.models.formulas import MatrixProduct, matrix_products, num_parameters


@dataclass(frozen=True)
class RooflineEstimate:
    """An estimate in seconds, the sum of its parts by the limit that binds: arithmetic, traffic, overhead."""

    latency_s: float
    arithmetic_s: float
    traffic_s: float
    overhead_s: float


def _padded(size: int, tile: int) -> int:
    return math.ceil(size / tile) * tile


def _cost(product: MatrixProduct, chip: ChipConfig, bandwidth: float) -> tuple[float, float]:
    m, k, n = (_padded(size, chip.tile) for size in (product.m, product.k, product.n))
    arithmetic = 2.0 * product.copies * m * k * n / chip.peak_flops
    values = product.copies * (product.m * product.k + product.k * product.n + product.m * product.n)
    return arithmetic, values * chip.bytes_per_value / bandwidth


def estimate(encoder: EncoderConfig, chip: ChipConfig, batch_size: int, sequence_length: int) -> RooflineEstimate:
    """Estimates the latency of one forward pass without heads.

    Args:
        encoder: architecture.
        chip: figures of the chip.
        batch_size: sequences in a batch.
        sequence_length: tokens in a sequence.

    Returns:
        A `RooflineEstimate`, in seconds.
    """
    fits = num_parameters(encoder) * chip.bytes_per_value <= chip.on_chip_bytes
    bandwidth = chip.on_chip_bandwidth if fits else chip.memory_bandwidth
    arithmetic_s = traffic_s = overhead_s = 0.0
    for product in matrix_products(encoder, batch_size, sequence_length):
        arithmetic, traffic = _cost(product, chip, bandwidth)
        if arithmetic >= traffic:
            arithmetic_s += arithmetic
        else:
            traffic_s += traffic
        # Products over the heads of a layer are one batched operation for the chip's scheduler.
        batched = encoder.num_hidden_layers if product.name in ("scores", "context") else product.copies
        overhead_s += batched * chip.op_overhead_s
    return RooflineEstimate(arithmetic_s + traffic_s + overhead_s, arithmetic_s, traffic_s, overhead_s)
