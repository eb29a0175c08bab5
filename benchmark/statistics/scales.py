"""Scales on which the noise of a score depends little on the score itself, and intervals on them.

Scores between 0 and 100 % move by the arcsine of their root (Bartlett 1936, doi 10.2307/2983678), correlations by
Fisher's z (Fisher 1915, doi 10.2307/2331838): near the ends a run changes less than in the middle, and an interval must
not leave the range. A mean of scores moves as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from scipy.special import stdtrit

Interval = tuple[float, float]
MANY_DEGREES = 1e9
"""Student's t with as many degrees of freedom is the normal distribution; SciPy's has no infinite ones."""
# Correlations of 1 are infinite on Fisher's scale, and those near 1 far from all others; a thousand examples do not
# tell 0.999 from 1.
_LARGEST = 0.999


@dataclass(frozen=True)
class Scale:
    """A scale.

    Attributes:
        to: takes percent to the scale.
        back: takes the scale to percent; what lies beyond the ends of the scale becomes an end.
        slope: derivative of `to` at a score in percent.
    """

    to: Callable[[float], float]
    back: Callable[[float], float]
    slope: Callable[[float], float]


def _arcsine(percent: float) -> float:
    return math.asin(math.sqrt(min(max(percent / 100.0, 0.0), 1.0)))


def _arcsine_back(value: float) -> float:
    return 100.0 * math.sin(min(max(value, 0.0), math.pi / 2.0)) ** 2


def _fisher(percent: float) -> float:
    return math.atanh(min(max(percent / 100.0, -_LARGEST), _LARGEST))


def _arcsine_slope(percent: float) -> float:
    return 0.005 / math.sqrt(max(percent / 100.0 * (1.0 - percent / 100.0), 1e-12))


def _fisher_slope(percent: float) -> float:
    return 0.01 / (1.0 - min(abs(percent) / 100.0, _LARGEST) ** 2)


def _as_it_is(value: float) -> float:
    return value


PROPORTION = Scale(_arcsine, _arcsine_back, _arcsine_slope)
CORRELATION = Scale(_fisher, lambda value: 100.0 * math.tanh(value), _fisher_slope)
PLAIN = Scale(_as_it_is, _as_it_is, lambda _: 1.0)

# By the name of a metric.
SCALES: Mapping[str, Scale] = MappingProxyType(
    {
        **dict.fromkeys(("accuracy", "exact_match", "f1", "macro_f1"), PROPORTION),
        **dict.fromkeys(("matthews", "pearson", "spearman"), CORRELATION),
    }
)


def quantile(confidence: float, degrees: float) -> float:
    """Returns the two-sided quantile of Student's t; the normal one where the degrees of freedom are infinite."""
    return float(stdtrit(min(degrees, MANY_DEGREES), 0.5 + confidence / 2.0))
