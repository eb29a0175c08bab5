"""How much each example moves a score: the first-order influence of an example on every metric. NumPy only.

A score is a function of the distribution of the examples. Its derivative in the direction of one example is the
influence function (Hampel 1974, doi 10.1080/01621459.1974.10482962); the variance of the score over samples of
examples is the variance of the influences, divided by their number (the infinitesimal jackknife; Efron and Tibshirani
1993, An Introduction to the Bootstrap, section 21). Influences of two systems on the same examples pair them: the
variance of the difference of their scores is that of the difference of their influences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tasks.catalogue import TaskInfo


def column_influences(metric: str, references: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Computes the influences of examples on a metric of classification or regression, from its columns.

    Returns:
        `[n]`, in percent; their mean is 0. Where a correlation is not defined (a constant column), all are 0.
    """
    return 100.0 * _FUNCTIONS[metric](references, predictions)


def clusters(task: TaskInfo, references: Any) -> np.ndarray:
    """Numbers the groups of examples that are drawn together: `[n]`; questions of one paragraph share its context."""
    if task.kind != "span":
        return np.arange(len(references))
    _, groups = np.unique([example["context"] for example in references], return_inverse=True)
    return groups


def sums(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Adds influences `[..., n]` within clusters `[n]`, and scales them to means over examples: `[..., clusters]`.

    The variance of a score is the variance of these numbers, divided by their number.
    """
    count = int(groups.max()) + 1
    if count == values.shape[-1]:
        return values[..., np.argsort(groups, kind="stable")]
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(count))
    total: np.ndarray = np.add.reduceat(values[..., order], starts, axis=-1)
    return total * (count / values.shape[-1])


def _accuracy(references: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    right = (references == predictions).astype(np.float64)
    return right - right.mean()


def _f1(references: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    # As `metrics.f1`: a prediction that is neither 0 nor 1 counts as wrong.
    valid = (predictions == 0) | (predictions == 1)
    return _f1_of(references == 1, np.where(valid, predictions == 1, references != 1))


def _f1_of(expected: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """F1 is a ratio of means, 2 (expected and predicted) over expected + predicted."""
    above = 2.0 * (expected & predicted)
    below = expected.astype(np.float64) + predicted
    if not below.any():
        return np.zeros(len(expected))
    return (above - above.mean() / below.mean() * below) / below.mean()


def _macro_f1(references: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    labels = np.unique(np.concatenate([references, predictions]))
    return np.mean([_f1_of(references == label, predictions == label) for label in labels], axis=0)


def _matthews(references: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    # Gorodkin's correlation is that of two matrices of indicators.
    labels = np.unique(np.concatenate([references, predictions]))
    return _correlation(*((column[:, None] == labels).astype(np.float64) for column in (references, predictions)))


def _pearson(references: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    return _correlation(*(np.asarray(column, np.float64)[:, None] for column in (references, predictions)))


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Influences on the correlation of two matrices `[n, k]`: covariances are summed over their columns."""
    if (first == first[0]).all() or (second == second[0]).all():
        return np.zeros(len(first))
    first, second = first - first.mean(0), second - second.mean(0)
    return _ratio((first * second).sum(1), (first**2).sum(1), (second**2).sum(1))


def _ratio(product: np.ndarray, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Influences on E product / sqrt(E one * E two), from values of the three whose means they are."""
    variances = one.mean() * two.mean()
    if variances <= 0.0:
        return np.zeros(len(product))
    correlation = product.mean() / variances**0.5
    return product / variances**0.5 - 0.5 * correlation * (one / one.mean() + two / two.mean())


def _spearman(references: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Influences on the correlation of mid-ranks, which an example also moves through the ranks of all others."""
    one, two = (np.asarray(column) for column in (references, predictions))
    rank, other = _distribution(one), _distribution(two)

    def product(a: np.ndarray, b: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        # E[ab] - 1/4 with a and b the mid-distributions, of which each example adds its share to all above it.
        mean = float(np.mean(a * b))
        return a * b + _above(left, b) + _above(right, a) - 2.0 * mean - 0.25

    return _ratio(product(rank, other, one, two), product(rank, rank, one, one), product(other, other, two, two))


def _distribution(values: np.ndarray) -> np.ndarray:
    """The mid-distribution function at each value: the share of smaller ones and half of that of equal ones."""
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / (2.0 * len(values))


def _above(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """For each value the mean of the weights over all larger values, with half of those of equal ones."""
    order = np.argsort(values, kind="stable")
    cumulated = np.concatenate([[0.0], np.cumsum(weights[order])])
    ordered = values[order]
    left, right = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return (cumulated[-1] - 0.5 * (cumulated[left] + cumulated[right])) / len(values)


_FUNCTIONS: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = MappingProxyType(
    {
        "accuracy": _accuracy,
        "f1": _f1,
        "macro_f1": _macro_f1,
        "matthews": _matthews,
        "pearson": _pearson,
        "spearman": _spearman,
    }
)
