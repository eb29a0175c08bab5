"""Roofline latency: arithmetic over the operations of an encoder and the figures of a chip.

An operation is one matrix product with the elementwise work that compilers fuse into it, or the two products of a
feed-forward network where the chip's compiler makes one operation of them. It costs a fixed overhead and the larger of
two times:

- its work in the core: arithmetic at the rate that such products sustain, with every axis (and the width of every head)
  padded to the chip's tile and the time to fill the matrix unit, elementwise work on the vector unit, and activations
  to and from memory on the chip, one after the other, since an operation of a few tiles has little to overlap;
- its weights from main memory, unless the weights of all layers fit on the chip.

Where the figures have no memory on the chip, activations and weights are traffic of main memory, as in the classic
roofline (Williams et al. 2009, doi 10.1145/1498765.1498785).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.models.formulas import MatrixProduct, forward_flops, matrix_products, parameter_counts

if TYPE_CHECKING:
    from benchmark.config import ChipConfig, EncoderConfig

# Operations on one value, counted as the usual formulas have them; exponential and error function as a dozen each.
_SOFTMAX = 16
_NORM = {"no_norm": 2, "layer_norm": 8}
_ACTIVATION = {"relu": 1, "gelu": 15, "gelu_new": 20}
# Products that a norm follows, and the operations of one layer norm that are not part of a product.
_NORMED = {
    "output",
    "attention_output",
    "output_bottleneck",
    "input_bottleneck",
    "attention_bottleneck",
    "transformation",
}
_STATISTICS = 2
LIMITS = ("arithmetic", "vector", "on_chip", "memory", "overhead")


@dataclass(frozen=True)
class RooflineEstimate:
    """An estimate in seconds, split by bottleneck: each operation is charged to either the core or memory."""

    latency_s: float
    arithmetic_s: float
    vector_s: float
    on_chip_s: float
    memory_s: float
    overhead_s: float

    @property
    def limit(self) -> str:
        """The bottleneck, of `LIMITS`: the part with the most time."""
        return max(LIMITS, key=lambda name: float(getattr(self, f"{name}_s")))


@dataclass(frozen=True)
class Operation:
    """The padded work of one kind of operation; `count` of them run one after the other."""

    count: int
    flops: float
    vector_flops: float
    activations: float
    weights: float


def _padded(size: int, tile: int) -> int:
    return math.ceil(size / tile) * tile


def _elementwise(product: MatrixProduct, c: EncoderConfig) -> int:
    """Counts the operations on each value of a product's result: bias, activation, norm, residual, softmax."""
    if product.name in ("scores", "context"):
        bias = 1 if c.relative_attention_num_buckets else 0
        return _SOFTMAX + bias if product.name == "scores" else 0
    norm = _NORM[c.normalization_type]
    extra = {
        "intermediate": _ACTIVATION[c.hidden_act],
        "output": 1 + norm,
        "attention_output": 1 + norm,
        "output_bottleneck": 1 + norm,
        "input_bottleneck": norm,
        "attention_bottleneck": norm,
        "transformation": 1 + norm,
    }
    return 1 + extra.get(product.name, 0)


def operations(c: EncoderConfig, chip: ChipConfig, batch_size: int, sequence_length: int) -> Iterator[Operation]:
    """Yields the operations of one forward pass without heads, those of a kind together."""
    waiting: MatrixProduct | None = None
    for product in matrix_products(c, batch_size, sequence_length):
        both = 2 * _padded(product.k, chip.tile) * _padded(product.n, chip.tile) * chip.bytes_per_value
        if product.name == "intermediate" and both <= chip.fused_feedforward_bytes:
            waiting = product
            continue
        # Products over the heads of a layer are one batched operation for the chip's scheduler.
        count = product.copies if product.weights else c.num_hidden_layers
        each = product.copies // count
        m, k, n = (_padded(size, chip.tile) for size in (product.m, product.k, product.n))
        first = waiting or product
        inputs = _padded(first.k, chip.tile)
        # A matrix unit as deep as a tile takes that many rows to fill, once for each product.
        rows = m + chip.tile - 1
        inner = 2.0 * rows * inputs * k if waiting else 0.0
        # The relative position bias is read for each score.
        biases = m * n if product.name == "scores" and c.relative_attention_num_buckets else 0
        yield Operation(
            count=count,
            flops=each * (2.0 * rows * k * n + inner),
            vector_flops=float(each * m * n * _elementwise(product, c)),
            activations=float(each * (m * inputs + m * n + biases + (0 if product.weights else k * n))),
            weights=float((k * n + (inputs * k if waiting else 0)) if product.weights else 0),
        )
        waiting = None
    yield from _statistics(c, batch_size * sequence_length)


def _statistics(c: EncoderConfig, tokens: int) -> Iterator[Operation]:
    """Yields mean and variance of the layer norms, which need the whole row and so are separate operations."""
    if c.normalization_type == "layer_norm":
        norms = [product for product in matrix_products(c, 1, tokens) if product.name in _NORMED]
        for product in norms:
            values = float(tokens * product.n)
            yield Operation(product.copies * _STATISTICS, 0.0, 2 * values, values, 0.0)


def estimate(encoder: EncoderConfig, chip: ChipConfig, batch_size: int, sequence_length: int) -> RooflineEstimate:
    """Estimates the latency of one forward pass without heads.

    Args:
        encoder: architecture.
        chip: figures of the chip.
        batch_size: sequences in a batch.
        sequence_length: tokens in a sequence.

    Raises:
        ConfigError: the chip lacks its peak or its bandwidth.
    """
    chip.require("roofline", "peak_flops", "memory_bandwidth")
    layered = chip.on_chip_bandwidth > 0
    fits = layered and parameter_counts(encoder)["layers"] * chip.bytes_per_value <= chip.on_chip_bytes
    parts = dict.fromkeys(LIMITS, 0.0)
    for op in operations(encoder, chip, batch_size, sequence_length):
        arithmetic = op.flops / (chip.sustained_flops or chip.peak_flops)
        vector = op.vector_flops / chip.vector_flops if chip.vector_flops else 0.0
        on_chip = op.activations * chip.bytes_per_value / chip.on_chip_bandwidth if layered else 0.0
        values = (0.0 if fits else op.weights) + (0.0 if layered else op.activations)
        memory = values * chip.bytes_per_value / chip.memory_bandwidth
        if arithmetic + vector + on_chip >= memory:
            parts["arithmetic"] += op.count * arithmetic
            parts["vector"] += op.count * vector
            parts["on_chip"] += op.count * on_chip
        else:
            parts["memory"] += op.count * memory
        parts["overhead"] += op.count * chip.op_overhead_s
    return RooflineEstimate(sum(parts.values()), **{f"{name}_s": seconds for name, seconds in parts.items()})


def latency_floor(encoder: EncoderConfig, chip: ChipConfig, batch_size: int, sequence_length: int) -> float:
    """Returns a lower bound in seconds of a forward pass on the chip: its matrix products, unpadded, at peak rate.

    Weights are assumed to be on the chip already, and nothing else to take time. A smaller latency is impossible.

    Raises:
        ConfigError: the chip lacks its peak.
    """
    chip.require("roofline", "peak_flops")
    return forward_flops(encoder, batch_size, sequence_length) / chip.peak_flops
