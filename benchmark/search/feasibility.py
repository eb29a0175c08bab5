"""The points of a search space that meet its limits, counted before anything is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.models.formulas import num_parameters
from benchmark.search.problem import ENUMERABLE
from benchmark.search.space import combinations, decode, enumerate_points

if TYPE_CHECKING:
    from benchmark.config import SearchConfig
    from benchmark.hardware.estimates import Latencies


@dataclass(frozen=True)
class Feasibility:
    """The architectures of a space under its limits.

    Attributes:
        architectures: number of valid points.
        small_enough: those of at most `max_parameters`.
        feasible: of these, those faster than `latency_threshold_s`, by the quick latency.
        nearest: the architecture that misses a limit by the smallest factor, in words; '' where one is feasible.
    """

    architectures: int
    small_enough: int
    feasible: int
    nearest: str


def feasibility(config: SearchConfig, latency: Latencies) -> Feasibility | None:
    """Counts the architectures of a space that meet its limits; None for a space that is too large to list.

    Args:
        config: the search.
        latency: gives the quick latency of each architecture, a roofline; the exact one may be another.
    """
    if combinations(config.space) > ENUMERABLE:
        return None
    points = enumerate_points(config.space)
    small_enough = feasible = 0
    least, nearest = math.inf, ""
    for point in points:
        encoder = decode(config.space, point)
        parameters, seconds = num_parameters(encoder), latency.quick(encoder).latency_s
        size = parameters / config.max_parameters if config.max_parameters else 0.0
        time = seconds / config.latency_threshold_s if config.latency_threshold_s else math.inf
        small_enough += size <= 1.0
        feasible += size <= 1.0 and time < 1.0
        if max(size, time) < least:
            least = max(size, time)
            shape = ", ".join(f"{name}={value}" for name, value in point.items())
            nearest = f"{shape} with {parameters:,} parameters and {seconds:.3g} s"
    return Feasibility(len(points), small_enough, feasible, "" if feasible else nearest)


def limits(config: SearchConfig) -> str:
    """Words the limits of a search."""
    return f"max_parameters = {config.max_parameters or 'any'}, latency_threshold_s = {config.latency_threshold_s:g}"
