"""Figures of a chip that no data sheet has: `python -m benchmark.hardware.calibrate --help`.

For a CPU they are measured on this machine: peak and bandwidths by probes, the cost of an operation by small encoders.
For a TPU the cost of an operation, the bandwidth on the chip and the rate of the vector unit are fitted to what its
compiler says of some architectures, the rest is published.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from benchmark.config import ChipConfig, EncoderConfig
from benchmark.hardware.roofline import estimate

FITTED = ("op_overhead_s", "on_chip_bandwidth", "vector_flops")
# Where the fit begins: a microsecond, and what is usual for memory on a chip and vector units.
_START = {"op_overhead_s": 1e-6, "on_chip_bandwidth": 5e11, "vector_flops": 1e12}


def fit(
    chip: ChipConfig,
    batch_size: int,
    sequence_length: int,
    encoders: Sequence[EncoderConfig],
    latencies: Sequence[float],
    fields: Sequence[str] = FITTED,
) -> ChipConfig:
    """Fits figures of a chip so that its roofline comes near known latencies.

    Args:
        chip: the other figures.
        batch_size: sequences in a batch.
        sequence_length: tokens in a sequence.
        encoders: architectures.
        latencies: their latencies in seconds.
        fields: what is fitted, of `FITTED`.

    Returns:
        The chip with the figures that minimise the mean square of the log ratios.
    """
    from scipy.optimize import minimize

    wanted = np.log(latencies)

    def with_figures(logs: np.ndarray) -> ChipConfig:
        return dataclasses.replace(chip, **dict(zip(fields, np.exp(logs).tolist(), strict=True)))

    def loss(logs: np.ndarray) -> float:
        tried = with_figures(np.clip(logs, -40, 60))
        found = [estimate(e, tried, batch_size, sequence_length).latency_s for e in encoders]
        return float(np.mean((np.log(found) - wanted) ** 2))

    start = [math.log(_START[name]) for name in fields]
    best = minimize(loss, start, method="Nelder-Mead", options={"maxiter": 400, "xatol": 1e-3, "fatol": 1e-9})
    return with_figures(np.clip(best.x, -40, 60))


def agreement(estimated: Sequence[float], known: Sequence[float]) -> dict[str, float]:
    """Kendall's tau-b, and mean and largest relative error, of estimates against known latencies."""
    from scipy.stats import kendalltau

    ratios = np.abs(np.divide(estimated, known) - 1)
    tau = float(kendalltau(estimated, known).statistic)
    return {"tau": tau, "mean_error": float(ratios.mean()), "largest_error": float(ratios.max())}


def gin_lines(chip: ChipConfig, fields: Sequence[str]) -> str:
    """The figures as a gin file has them, four digits each."""
    return "\n".join(f"{chip.name}/ChipConfig.{name} = {getattr(chip, name):.4g}" for name in fields)
