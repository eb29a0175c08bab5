"""Latency samples summed up for the page: quantiles and histograms."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

_BINS = 40


def quantile(ordered: Sequence[int], fraction: float) -> int:
    """Returns the smallest sample that at least `fraction` of all samples do not exceed (an upper bound)."""
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)]


def distribution(samples_ns: Sequence[Sequence[int]], reference_ns: Sequence[Sequence[int]]) -> dict[str, Any] | None:
    """Sums up latency samples: quantiles and a histogram, candidate and reference on the same bins.

    The bins are equal in the logarithm and end at the 99th percentile, so that a few interruptions do not flatten the
    rest; later samples are counted in the last bin.

    Args:
        samples_ns: samples of the candidate, one list for each process.
        reference_ns: samples of the reference, likewise.

    Returns:
        Plain values, or None without samples.
    """
    own = sorted(sample for process in samples_ns for sample in process)
    other = sorted(sample for process in reference_ns for sample in process)
    if not own or own[0] <= 0 or (other and other[0] <= 0):
        return None
    low = min(series[0] for series in (own, other) if series)
    high = max(quantile(series, 0.99) for series in (own, other) if series)
    span = math.log(high / low) or 1.0
    counts = []
    for series in (own, other):
        bins = Counter(min(_BINS - 1, max(0, int(math.log(sample / low) / span * _BINS))) for sample in series)
        counts.append([bins[index] for index in range(_BINS)])
    return {
        "count": len(own),
        "processes": [quantile(sorted(process), 0.5) for process in samples_ns if process],
        "quantiles": [[fraction, quantile(own, fraction)] for fraction in (0.1, 0.5, 0.9, 0.99)],
        "low": low,
        "high": high,
        "candidate": counts[0],
        "reference": counts[1] if other else None,
    }
