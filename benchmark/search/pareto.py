"""Non-dominated sets and hypervolume for accuracy (up) against latency (down)."""

from __future__ import annotations

import math
from collections.abc import Sequence

# Decimals of hypervolumes that are compared: equal ones may differ by their rounding.
DECIMALS = 12


def non_dominated(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Marks the points that no other point dominates.

    Args:
        points: `(accuracy, latency)` pairs.

    Returns:
        True for each point such that no other one is at least as good in both and better in one. Equal points are
        marked alike; a point with NaN is never on the front.
    """
    members = [False] * len(points)
    best: tuple[float, float] | None = None
    known = (place for place, point in enumerate(points) if not any(map(math.isnan, point)))
    # From the fastest on, a point must be more accurate than every one before it.
    for place in sorted(known, key=lambda place: (points[place][1], -points[place][0])):
        accuracy, latency = points[place]
        if best is None or accuracy > best[0] or (accuracy, latency) == best:
            members[place], best = True, (accuracy, latency)
    return members


def hypervolume(points: Sequence[tuple[float, float]], accuracy_threshold: float, latency_threshold_s: float) -> float:
    """Computes the share of the box between thresholds and ideal that the points dominate.

    The box spans accuracy from its threshold to 100 percent and the logarithm of latency from its threshold down to a
    hundredth of it, since ratios of latencies matter; latency gains beyond that do not count.

    Args:
        points: `(accuracy in percent, latency in seconds)` pairs.
        accuracy_threshold: points at or below it count nothing.
        latency_threshold_s: points at or above it count nothing.

    Returns:
        A number in [0, 1].
    """
    if accuracy_threshold >= 100.0 or latency_threshold_s <= 0.0:
        return 0.0
    scaled = sorted(
        (
            (min(1.0, math.log(latency_threshold_s / latency) / math.log(100.0)), (accuracy - accuracy_threshold))
            for accuracy, latency in points
            if accuracy > accuracy_threshold and latency < latency_threshold_s
        ),
        reverse=True,
    )
    area = best = 0.0
    for speed, gain in scaled:
        if gain > best:
            area += speed * (gain - best)
            best = gain
    return area / (100.0 - accuracy_threshold)
