"""Means over observations that come in clusters, such as the predictions of one document, and their standard errors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def ratio(sums: np.ndarray, counts: np.ndarray, clusters: np.ndarray) -> tuple[float, float | None]:
    """Computes the mean of all observations, and its standard error where whole clusters are drawn independently.

    The mean is a ratio of two sums that both depend on the clusters drawn; its error is that of the linearised ratio,
    `D / (D - 1) sum_d (s_d - mean n_d)^2 / N^2` for D clusters with sums s and counts n (Cochran 1977, Sampling
    Techniques, 3rd edition, section 6.3, without the correction for a finite population).

    Args:
        sums: sum of the observations of each group that lies in one cluster, `[groups]`.
        counts: number of the observations of each group, `[groups]`; not all 0.
        clusters: names the cluster of each group, integers, `[groups]`.

    Returns:
        Mean and standard error, in the unit of the observations; no error where there are fewer than two clusters. Sums
        are exact, so that neither order nor machine changes a bit.
    """
    total, number = math.fsum(sums), math.fsum(counts)
    mean = total / number
    members: dict[int, list[float]] = {}
    for cluster, residual in zip(clusters.tolist(), (sums - mean * counts).tolist(), strict=True):
        members.setdefault(cluster, []).append(residual)
    if len(members) < 2:
        return mean, None
    squares = math.fsum(math.fsum(residuals) ** 2 for residuals in members.values())
    return mean, math.sqrt(len(members) / (len(members) - 1) * squares) / number
