"""Differences between the systems of one board: over seeds and paired examples, with Holm's correction over the ladder.

docs/statistics.md has the formulas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from benchmark.statistics.variance import UNKNOWN, Variance

LEVEL = 0.05
POWER = 0.8
# Student's t with as many degrees of freedom is the normal distribution.
_MANY = 1e9


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
    """

    difference: np.ndarray
    error: np.ndarray
    degrees: np.ndarray
    p: np.ndarray
    adjusted: np.ndarray


def compare(entries: Sequence[Entry], covariance: np.ndarray | None = None) -> Comparisons:
    """Compares all pairs of systems.

    The variance of a difference is that of the seeds of both systems and that of the examples, less the interaction of
    the two, which both hold; the examples are paired where their covariance is known. Degrees of freedom are those of
    Satterthwaite.

    Args:
        entries: the systems.
        covariance: between the means of two systems over the choice of examples, in percent squared, `[systems,
            systems]`, 0 where the examples are not known to be the same; None for no pairing.
    """
    mean = np.array([entry.mean for entry in entries])
    seeds, seed_degrees = _columns([entry.seeds for entry in entries])
    examples, example_degrees = _columns([entry.examples for entry in entries])
    shared, _ = _columns([entry.interaction for entry in entries])
    drawn = examples[:, None] + examples[None, :]
    if covariance is not None:
        drawn = np.maximum(drawn - 2.0 * covariance, 0.0)
    run = seeds[:, None] + seeds[None, :]
    variance = np.maximum(drawn + run - shared[:, None] - shared[None, :], np.maximum(drawn, run))
    of_seeds = np.divide(seeds**2, seed_degrees, out=np.zeros_like(seeds), where=seed_degrees > 0.0)
    least = np.minimum(example_degrees[:, None], example_degrees[None, :])
    below = np.divide(drawn**2, least, out=np.zeros_like(drawn), where=least > 0.0) + of_seeds[:, None] + of_seeds
    total = (drawn + run) ** 2
    degrees = np.minimum(np.divide(total, below, out=np.full_like(total, _MANY), where=below > 0.0), _MANY)
    difference, error = mean[:, None] - mean[None, :], np.sqrt(variance)
    # Without any noise a difference is what it is.
    scaled = np.divide(np.abs(difference), error, out=np.where(difference == 0.0, 0.0, np.inf), where=error > 0.0)
    p = 2.0 * stdtr(degrees, -scaled)
    return Comparisons(difference, error, degrees, p, _adjusted(p))


def _columns(variances: Sequence[Variance]) -> tuple[np.ndarray, np.ndarray]:
    values = np.array([[variance.value, variance.degrees] for variance in variances]).reshape(-1, 2)
    return values[:, 0], np.minimum(values[:, 1], _MANY)


def _adjusted(p: np.ndarray) -> np.ndarray:
    """Applies `holm` to the pairs of a symmetric matrix; the diagonal becomes 1."""
    upper = np.triu_indices(len(p), 1)
    found = np.ones_like(p)
    found[upper] = holm(p[upper])
    return np.minimum(found, found.T)


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
    are fewer than two systems.
    """
    upper = np.triu_indices(len(comparisons.p), 1)
    if not len(upper[0]):
        return None
    degrees = comparisons.degrees[upper]
    resolved = comparisons.error[upper] * (stdtrit(degrees, 1.0 - LEVEL / 2.0) + stdtrit(degrees, POWER))
    return float(np.median(resolved))
