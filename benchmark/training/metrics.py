"""Metrics of speed: tokens per second and MFU, the share of a device's peak that the model uses."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import jax

from benchmark.models.formulas import forward_flops, masked_lm_head_flops

if TYPE_CHECKING:
    from benchmark.config import EncoderConfig

# Dense matrix products, FLOP/s of one device as jax counts devices, in bfloat16 and for float32 values; the kind of a
# device begins with the key, and the longest key counts.
# NVIDIA: the vendor's data sheets of each product, whose figures with sparsity are halved. XLA multiplies float32
# values in TF32 there unless told otherwise (jax.lax.Precision.DEFAULT).
# TPU: Google's system architecture pages; v4 lite (v4i) from Jouppi et al. 2021 (doi 10.1109/ISCA52012.2021.00010). XLA
# multiplies float32 values in bfloat16 there unless told otherwise. A device is one of two cores in v2 and v3.
PEAKS: dict[str, tuple[float, float]] = {
    "NVIDIA A100": (312e12, 156e12),
    "NVIDIA H100": (989e12, 494.5e12),
    "NVIDIA H100 PCIe": (756e12, 378e12),
    "NVIDIA H100 NVL": (835e12, 417.5e12),
    "NVIDIA H200": (989e12, 494.5e12),
    "NVIDIA H200 NVL": (835e12, 417.5e12),
    "NVIDIA L4": (121e12, 60e12),
    "TPU v2": (22.5e12, 22.5e12),
    "TPU v3": (61.5e12, 61.5e12),
    "TPU v4": (275e12, 275e12),
    "TPU v4 lite": (138e12, 138e12),
    "TPU v5": (459e12, 459e12),
    "TPU v5p": (459e12, 459e12),
    "TPU v5 lite": (197e12, 197e12),
    "TPU v6 lite": (918e12, 918e12),
}


def known_peak(device_kind: str, compute_dtype: str) -> float | None:
    """Peak of one device, FLOP/s, or None where the table does not hold it."""
    keys = [key for key in PEAKS if device_kind == key or device_kind.startswith((f"{key} ", f"{key}-"))]
    if not keys:
        return None
    bfloat16, float32 = PEAKS[max(keys, key=len)]
    return bfloat16 if compute_dtype == "bfloat16" else float32


def peak_flops(compute_dtype: str, host_peak: float | None) -> float | None:
    """Peak of all devices of this run, for MFU.

    Args:
        compute_dtype: `bfloat16` or `float32`.
        host_peak: peak of one host's processor where the settings give it; it counts where jax computes on CPU.

    Returns:
        FLOP/s, or None where it is not known; then no MFU is reported.
    """
    first = jax.devices()[0]
    if first.platform == "cpu":
        return None if host_peak is None else host_peak * jax.process_count()
    peak = known_peak(first.device_kind, compute_dtype)
    return None if peak is None else peak * jax.device_count()


def training_flops(
    encoder: EncoderConfig,
    batch_size: int,
    sequence_length: int,
    predictions: int,
    teacher: EncoderConfig | None = None,
) -> int:
    """FLOPs of one masked-LM training step: forward, twice as much backward, and the forward pass of a teacher.

    Matrix products of the whole batch count, padding included, since all of them are computed.

    Args:
        encoder: the trained architecture.
        batch_size: rows, over all processes.
        sequence_length: columns.
        predictions: predictions for each row.
        teacher: architecture of the teacher that runs in the same step; None without one.

    Returns:
        A number of operations, two for each multiply-add.
    """

    def forward(c: EncoderConfig) -> int:
        return forward_flops(c, batch_size, sequence_length) + masked_lm_head_flops(c, batch_size * predictions)

    return 3 * forward(encoder) + (forward(teacher) if teacher else 0)


class Speed:
    """Tokens per second and MFU between two calls of `read`."""

    def __init__(self, flops_per_step: float | None, peak: float | None) -> None:
        """Starts the clock; `flops_per_step` and `peak` (FLOP/s) are None where MFU is not known."""
        self._flops, self._peak = flops_per_step, peak
        self._steps = self._tokens = 0
        self._since = time.perf_counter()

    def restart(self) -> None:
        """Starts the clock again, so that earlier work such as compiling is not counted."""
        self._since = time.perf_counter()

    def add(self, steps: int, tokens: int) -> None:
        """Counts finished steps and the real tokens in them."""
        self._steps += steps
        self._tokens += tokens

    def read(self) -> dict[str, float]:
        """Gives the figures since the last call; those that are not known are left out."""
        now = time.perf_counter()
        seconds, figures = max(now - self._since, 1e-9), {}
        if self._tokens:
            figures["tokens_per_second"] = self._tokens / seconds
        if self._flops and self._peak and self._steps:
            figures["mfu"] = self._flops * self._steps / (seconds * self._peak)
        self._steps, self._tokens, self._since = 0, 0, now
        return figures
