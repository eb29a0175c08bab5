"""Variances between runs with few runs of each system: pooled over systems, and shrunk towards the pooled value.

Two or three seeds say little about a variance, many systems of one track say more. The true variances of systems differ
by a factor with squared coefficient of variation c, which the spread of their estimates shows: an estimate with d
degrees of freedom varies by 2 / d (1 + c) + c relative to its square. The best linear combination of a system's own
estimate and the pooled one (credibility; Buehlmann 1967, doi 10.1017/S0515036100008989) weighs them as d and
d0 = 2 + 2 / c degrees of freedom. They are the weights of the model of Smyth (2004, doi 10.2202/1544-6115.1027), whose
prior is fitted to logarithms; scores of few examples are often equal, and a variance of 0 has none. A variance that is
larger than those of all others by more than luck is left to its system alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import fdtri


@dataclass(frozen=True)
class Variance:
    """A variance and the degrees of freedom that it is known with; none where `degrees` is 0.

    Attributes:
        value: the variance.
        degrees: of freedom; `math.inf` for a known variance.
    """

    value: float
    degrees: float

    @property
    def known(self) -> bool:
        """Whether anything is known of it."""
        return self.degrees > 0


UNKNOWN = Variance(0.0, 0.0)
# A ratio of variances that equal ones exceed in one of a million cases.
_LUCK = 1.0 - 1e-6


def of_values(values: Sequence[float]) -> Variance:
    """Estimates the variance of values: unbiased, with one degree of freedom less than there are values."""
    count = len(values)
    if count < 2:
        return UNKNOWN
    mean = math.fsum(values) / count
    return Variance(math.fsum((value - mean) ** 2 for value in values) / (count - 1), count - 1.0)


def pooled(variances: Sequence[Variance]) -> Variance:
    """Pools estimates of one variance, weighed by their degrees of freedom."""
    known = [variance for variance in variances if variance.known]
    degrees = math.fsum(variance.degrees for variance in known)
    if not known:
        return UNKNOWN
    return Variance(math.fsum(v.degrees * v.value for v in known) / degrees, degrees)


def prior_degrees(variances: Sequence[Variance]) -> float:
    """Estimates d0, how many degrees of freedom the pooled variance is worth for one system.

    Returns:
        At least 2; `math.inf` where the estimates differ no more than estimates of one variance do, or where there are
        fewer than three.
    """
    known = [variance for variance in variances if variance.known]
    centre = pooled(known).value
    if len(known) < 3 or centre <= 0.0:
        return math.inf
    # Each square is an estimate of 2 / d (1 + c) + c; they are weighed by degrees of freedom, as the centre is. The
    # estimates count for the centre, too, which takes one of their number.
    degrees = math.fsum(v.degrees for v in known)
    squares = math.fsum(v.degrees * (v.value / centre - 1.0) ** 2 for v in known) / degrees
    spread = squares * len(known) / (len(known) - 1)
    expected = 2.0 * len(known) / degrees
    excess = (spread - expected) / (1.0 + expected)
    return 2.0 + 2.0 / excess if excess > 0.0 else math.inf


def shrunk(variances: Sequence[Variance]) -> list[Variance]:
    """Shrinks the variance of each system towards that of all.

    Args:
        variances: one for each system; those of a system with one run are `UNKNOWN`.

    Returns:
        As many, each with the degrees of freedom of both parts, but at most those of all systems together; all are
        `UNKNOWN` where no system has two runs.
    """
    apart = [_is_apart(variances, number) for number in range(len(variances))]
    similar = [own for own, alone in zip(variances, apart, strict=True) if not alone]
    all_of_them = pooled(similar)
    if not all_of_them.known:
        return [UNKNOWN] * len(variances)
    prior = prior_degrees(similar)
    found = []
    for own, alone in zip(variances, apart, strict=True):
        if alone:
            found.append(own)
            continue
        if math.isinf(prior):
            found.append(all_of_them)
            continue
        value = (prior * all_of_them.value + own.degrees * own.value) / (prior + own.degrees)
        found.append(Variance(value, min(prior + own.degrees, all_of_them.degrees)))
    return found


def _is_apart(variances: Sequence[Variance], number: int) -> bool:
    """Tells if a variance is larger than the others by more than any luck: it says nothing of them, nor they of it."""
    own, others = variances[number], pooled([*variances[:number], *variances[number + 1 :]])
    if not own.known or not others.known or others.value <= 0.0:
        return False
    return bool(own.value / others.value > fdtri(own.degrees, others.degrees, _LUCK))


def total(*parts: tuple[float, Variance]) -> Variance:
    """Adds variances with factors; degrees of freedom by Satterthwaite (1946, doi 10.2307/3002019).

    Args:
        parts: factor and variance of each part.
    """
    values = [factor * variance.value for factor, variance in parts]
    value = math.fsum(values)
    if value <= 0.0:
        return Variance(0.0, max((v.degrees for _, v in parts), default=0.0))
    below = math.fsum(x * x / v.degrees for x, (_, v) in zip(values, parts, strict=True) if v.degrees)
    return Variance(value, value * value / below if below > 0.0 else math.inf)
