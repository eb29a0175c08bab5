"""Differences between the systems of one board: over seeds and paired examples, with Holm's correction over the ladder.

docs/statistics.md has the formulas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from benchmark.statistics.scales import MANY_DEGREES
from benchmark.statistics.variance import UNKNOWN, Variance

LEVEL = 0.05
POWER = 0.8


@dataclass(frozen=True)
class Entry:
    """What a comparison needs of a system's score.

    Attributes:
        mean: over its runs, in percent.
        seeds: variance of the mean that comes from the seeds, in percent squared.
        examples: variance of the mean that comes from the choice of examples, in percent squared.
        interaction: what of the variance both hold (`benchmark.statistics.intervals.shared_by_both`).
    """

    mean: float
    seeds: Variance = UNKNOWN
    examples: Variance = UNKNOWN
    interaction: Variance = UNKNOWN


@dataclass(frozen=True)
class Comparisons:
    """The differences of all pairs of systems; row minus column, `[systems, systems]`.

    Attributes:
        difference: in percentage points.
        error: standard error of the difference.
        degrees: of freedom of the error.
        p: probability that equal systems differ as much, one way or the other.
        adjusted: the same after Holm's correction for all pairs.
        known: where the noise of the examples of both is known.
    """

    difference: np.ndarray
    error: np.ndarray
    degrees: np.ndarray
    p: np.ndarray
    adjusted: np.ndarray
    known: np.ndarray


def compare(entries: Sequence[Entry], covariance: np.ndarray | None = None) -> Comparisons:
    """Compares all pairs of systems.

    The variance of a difference is that of the seeds of both systems and that of the examples, less the interaction of
    the two, which both hold; the examples are paired where their covariance is known. Degrees of freedom are those of
    Satterthwaite. Where nothing is known of the examples of one of the two, nothing tells them apart: p is 1.

    Args:
        entries: the systems.
        covariance: between the means of two systems over the choice of examples, in percent squared, `[systems,
            systems]`, 0 where the examples are not known to be the same; None for no pairing.
    """
    mean = np.array([entry.mean for entry in entries], np.float64)
    seeds, seed_degrees = _columns([entry.seeds for entry in entries])
    examples, example_degrees = _columns([entry.examples for entry in entries])
    shared, _ = _columns([entry.interaction for entry in entries])
    known = (example_degrees > 0.0)[:, None] & (example_degrees > 0.0)
    drawn = examples[:, None] + examples
    of_examples = _share(examples, example_degrees)
    below = of_examples[:, None] + of_examples
    if covariance is not None:
        drawn = np.maximum(drawn - 2.0 * covariance, 0.0)
        least = np.minimum(example_degrees[:, None], example_degrees)
        below = np.divide(drawn**2, least, out=np.zeros_like(drawn), where=least > 0.0)
    run, of_seeds = seeds[:, None] + seeds, _share(seeds, seed_degrees)
    variance = np.maximum(drawn + run - shared[:, None] - shared, np.maximum(drawn, run))
    below = below + of_seeds[:, None] + of_seeds
    total = (drawn + run) ** 2
    most = np.full_like(total, MANY_DEGREES)
    degrees = np.minimum(np.divide(total, below, out=most.copy(), where=below > 0.0), most)
    difference, error = mean[:, None] - mean, np.sqrt(variance)
    # Without any noise a difference is what it is.
    scaled = np.divide(np.abs(difference), error, out=np.where(difference == 0.0, 0.0, np.inf), where=error > 0.0)
    upper = np.triu_indices(len(mean), 1)
    p, adjusted = np.ones_like(error), np.ones_like(error)
    p[upper] = np.where(known[upper], 2.0 * stdtr(degrees[upper], -scaled[upper]), 1.0)
    adjusted[upper] = holm(p[upper])
    return Comparisons(difference, error, degrees, np.minimum(p, p.T), np.minimum(adjusted, adjusted.T), known)


def _share(values: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """The square of each variance over its degrees of freedom; 0 where nothing is known."""
    return np.divide(values**2, degrees, out=np.zeros_like(values), where=degrees > 0.0)


def _columns(variances: Sequence[Variance]) -> tuple[np.ndarray, np.ndarray]:
    values = np.array([[variance.value, variance.degrees] for variance in variances], np.float64).reshape(-1, 2)
    return values[:, 0], np.minimum(values[:, 1], MANY_DEGREES)


def holm(p: np.ndarray) -> np.ndarray:
    """Adjusts the probabilities of a family of tests (Holm 1979, Scandinavian Journal of Statistics 6, 65-70).

    Args:
        p: `[n]`.

    Returns:
        `[n]`; below a level at most that share of families has any false discovery.
    """
    order = np.argsort(p, kind="stable")
    scaled = p[order] * np.arange(len(p), 0, -1)
    found = np.empty_like(p)
    found[order] = np.minimum(np.maximum.accumulate(scaled), 1.0) if len(p) else scaled
    return found


def resolution(comparisons: Comparisons) -> float | None:
    """Returns the smallest true difference that is found in four of five cases, for the usual pair of the systems.

    A pair is compared alone, without a correction for others: that is what a reader of two rows does. None where there
    are fewer than two systems whose noise is known.
    """
    pairs = np.triu(comparisons.known & (comparisons.error > 0.0), 1)
    if not pairs.any():
        return None
    degrees = comparisons.degrees[pairs]
    resolved = comparisons.error[pairs] * (stdtrit(degrees, 1.0 - LEVEL / 2.0) + stdtrit(degrees, POWER))
    return float(np.median(resolved))
