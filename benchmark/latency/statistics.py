"""Statistics of samples: upper bounds of percentiles, speed-up with its interval, the noise floor."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

# Confidence of an upper bound of a percentile, as in MLPerf inference.
CONFIDENCE = 0.99
PERCENTILES = (0.5, 0.9, 0.99)

Samples = Sequence[Sequence[int]]


def pair_ratios(candidate: Sequence[int], reference: Sequence[int]) -> np.ndarray:
    """Returns reference time over candidate time, pair by pair."""
    return np.asarray(reference, np.float64) / np.asarray(candidate, np.float64)


def bound_rank(count: int, fraction: float) -> int | None:
    """Finds the rank of the sample that is an upper bound of a percentile with 99 % confidence.

    MLPerf's rule (inference policies, "early stopping"): of `count` samples the `t - 1` largest may be dropped, where
    `t` is the largest number for which at most 1 % of all draws would have so few samples above the percentile.

    Args:
        count: number of samples.
        fraction: the percentile, between 0 and 1.

    Returns:
        The rank, 1 for the smallest sample; None where there are too few samples for this percentile (fewer than 11 for
        0.5, 64 for 0.9, 662 for 0.99).
    """
    from scipy.special import betainc

    def too_few_above(dropped: int) -> bool:
        # P(Binomial(count, fraction) >= count - dropped), as a regularised incomplete beta function.
        return bool(betainc(count - dropped, dropped + 1, fraction) <= 1.0 - CONFIDENCE)

    if count < 2 or not too_few_above(1):
        return None
    low, high = 1, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if too_few_above(middle) else (low, middle)
    return count - low + 1


def percentile_bounds(samples_ns: Samples) -> dict[str, float | None]:
    """Computes upper bounds, in seconds, of the percentiles of all samples; None where there are too few.

    Samples of one process are closer to each other than to those of another, which the bounds do not account for.

    Returns:
        `p50`, `p90` and `p99`.
    """
    ordered = sorted(sample for process in samples_ns for sample in process)
    bounds: dict[str, float | None] = {}
    for fraction in PERCENTILES:
        rank = bound_rank(len(ordered), fraction)
        bounds[f"p{round(100 * fraction)}"] = None if rank is None else ordered[rank - 1] * 1e-9
    return bounds


def median_seconds(samples_ns: Samples) -> float:
    """Returns the median of all samples, in seconds."""
    return float(np.median([sample for process in samples_ns for sample in process])) * 1e-9


def log_interval(candidate_ns: Samples, reference_ns: Samples) -> tuple[float, float]:
    """Computes centre and half-width of the 95 % interval of the logarithm of the speed-up.

    Measuring is a sample in two stages: processes, and pairs inside each. The median ratio of a process carries the
    noise of its pairs already, so Student's t over the processes' log medians accounts for both stages, and holds for
    as few processes as there are here; a bootstrap over five of them is too narrow by a fifth. A single
    process says nothing about others: its interval is the quartiles of its pairs.

    Args:
        candidate_ns: samples, one list for each process.
        reference_ns: those of the reference, pair by pair.

    Returns:
        Mean of the processes' log medians, and the half-width.
    """
    from scipy.special import stdtrit

    ratios = [np.log(pair_ratios(c, r)) for c, r in zip(candidate_ns, reference_ns, strict=True)]
    medians = np.sort([np.median(ratio) for ratio in ratios])
    center = float(medians.mean())
    if len(medians) == 1:
        low, high = np.quantile(ratios[0], [0.25, 0.75])
        return center, float(max(center - low, high - center))
    spread = float(medians.std(ddof=1)) / math.sqrt(len(medians))
    return center, float(stdtrit(len(medians) - 1, 0.975)) * spread


def noise_floor(samples_ns: Samples, again_ns: Samples) -> float:
    """Computes the log difference of the reference from itself: the far end of its 95 % interval.

    Args:
        samples_ns: the reference in the place of the candidate.
        again_ns: the reference in its own.
    """
    center, half = log_interval(samples_ns, again_ns)
    return abs(center) + half


def speedup(candidate_ns: Samples, reference_ns: Samples, floor: float = 0.0) -> tuple[float, tuple[float, float]]:
    """Computes the speed-up over the reference, and the 95 % interval of another such measurement.

    Both measurements have errors: the difference of their estimates has twice the variance of one, so that the interval
    is `sqrt(2)` times as wide as the one that holds the true value with 95 % (`log_interval`). Two entries, or an entry
    and its repetition, are compared by it. It is never narrower than the noise floor.

    Args:
        candidate_ns: samples, one list for each process.
        reference_ns: those of the reference, pair by pair.
        floor: the noise floor.

    Returns:
        The geometric mean of the processes' median ratios, and the ends of the interval.
    """
    center, half = log_interval(candidate_ns, reference_ns)
    # The quartiles of a single process are no interval of an estimate, so they are not widened.
    half = max(half * math.sqrt(2.0) if len(candidate_ns) > 1 else half, floor)
    return math.exp(center), (math.exp(center - half), math.exp(center + half))
