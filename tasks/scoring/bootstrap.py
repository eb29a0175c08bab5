"""Intervals of scores by bootstrap over examples, all draws at once. NumPy only.

A draw of n examples with replacement is a count for each example, or for each group of examples that move a score
alike: the cells of a table of labels, or the paragraphs of questions. Counts of groups are drawn from the multinomial
distribution (Efron and Tibshirani 1993, An Introduction to the Bootstrap).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

import numpy as np

DRAWS = 1000
# Counts that are drawn at once, so that large sets need no more memory than small ones.
_CELLS = 2**24


def intervals(
    names: Sequence[str],
    references: Sequence[float],
    runs: Mapping[str, Sequence[Sequence[float]]],
    run: int,
    draws: int = DRAWS,
) -> dict[str, tuple[float, float]]:
    """Computes the 95 % percentile interval of the scores of a run, by bootstrap over examples.

    Questions of one paragraph share their context and are drawn together.

    Args:
        names: of the metrics.
        references: as `tasks.scoring.outcomes.outcomes` gives them.
        runs: likewise.
        run: number of the run.
        draws: number of draws.

    Returns:
        Metric -> lower and upper end, in percent.
    """
    expected = np.asarray(references)
    if "predictions" not in runs:
        scores = _questions(names, expected, {name: np.asarray(runs[name][run], np.float64) for name in names}, draws)
    elif set(names) <= _OF_TABLES.keys():
        scores = _labels(names, expected, np.asarray(runs["predictions"][run]), draws)
    else:
        scores = _values(names, expected, np.asarray(runs["predictions"][run]), draws)
    ends = {name: np.quantile(values, (0.025, 0.975)) for name, values in scores.items()}
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


@lru_cache(maxsize=4)
def _counts(groups: int, draws: int) -> np.ndarray:
    """Draws `groups` of as many, `draws` times: `[draws, groups]`. All systems on one set of examples have the same."""
    found = np.random.default_rng(0).multinomial(groups, np.full(groups, 1.0 / groups), draws)
    found.setflags(write=False)
    return found


def _questions(
    names: Sequence[str], paragraphs: np.ndarray, values: Mapping[str, np.ndarray], draws: int
) -> dict[str, np.ndarray]:
    sizes = np.bincount(paragraphs)
    counts = _counts(len(sizes), draws)
    asked = counts @ sizes
    return {name: 100.0 * (counts @ np.bincount(paragraphs, values[name])) / asked for name in names}


def _labels(names: Sequence[str], expected: np.ndarray, predicted: np.ndarray, draws: int) -> dict[str, np.ndarray]:
    labels, codes = np.unique(np.concatenate([expected, predicted]), return_inverse=True)
    count, size = len(expected), len(labels)
    cells = np.bincount(codes[:count] * size + codes[count:], minlength=size * size)
    drawn = np.random.default_rng(0).multinomial(count, cells / count, draws)
    tables = drawn.reshape(draws, size, size).astype(np.float64)
    return {name: 100.0 * _OF_TABLES[name](tables, labels) for name in names}


def _accuracy(tables: np.ndarray, labels: np.ndarray) -> np.ndarray:
    del labels
    right: np.ndarray = np.trace(tables, axis1=1, axis2=2)
    return right / tables.sum((1, 2))


def _f1(tables: np.ndarray, labels: np.ndarray) -> np.ndarray:
    # As `metrics.f1`: a prediction that is neither 0 nor 1 counts as wrong.
    is_one = labels == 1
    invalid = ~is_one & (labels != 0)
    predicted = tables[:, :, is_one].sum((1, 2)) + tables[:, ~is_one][:, :, invalid].sum((1, 2))
    both = tables[:, is_one].sum((1, 2)) + predicted
    right = tables[:, is_one][:, :, is_one].sum((1, 2))
    return np.divide(2.0 * right, both, out=np.zeros_like(right), where=both > 0)


def _macro_f1(tables: np.ndarray, labels: np.ndarray) -> np.ndarray:
    del labels
    both = tables.sum(1) + tables.sum(2)
    right = np.diagonal(tables, axis1=1, axis2=2)
    each = np.divide(2.0 * right, both, out=np.zeros_like(both), where=both > 0)
    found: np.ndarray = each.sum(1) / (both > 0).sum(1)
    return found


def _matthews(tables: np.ndarray, labels: np.ndarray) -> np.ndarray:
    del labels
    total = tables.sum((1, 2))
    expected, predicted = tables.sum(2), tables.sum(1)
    covariance = np.trace(tables, axis1=1, axis2=2) * total - (expected * predicted).sum(1)
    variance = (total**2 - (expected**2).sum(1)) * (total**2 - (predicted**2).sum(1))
    return np.divide(covariance, np.sqrt(variance), out=np.zeros_like(covariance), where=variance > 0)


# Metrics of labels, from tables of counts `[draws, expected, predicted]` and their labels.
_OF_TABLES: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = MappingProxyType(
    {"accuracy": _accuracy, "f1": _f1, "macro_f1": _macro_f1, "matthews": _matthews}
)


def _values(names: Sequence[str], expected: np.ndarray, predicted: np.ndarray, draws: int) -> dict[str, np.ndarray]:
    counts, step = _counts(len(expected), draws), max(1, _CELLS // len(expected))
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for start in range(0, draws, step):
        weights = counts[start : start + step].astype(np.float64)
        for name in names:
            one, two = np.asarray(expected, np.float64), np.asarray(predicted, np.float64)
            if name == "spearman":
                one, two = _ranks(one, weights), _ranks(two, weights)
            found[name].append(100.0 * _correlation(one, two, weights))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Ranks of values `[n]` in each draw `[draws, n]`; equal ones share the mean of theirs."""
    _, _, codes, sizes = np.unique(values, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(codes, kind="stable")
    groups = np.add.reduceat(weights[:, order], np.concatenate([[0], np.cumsum(sizes)[:-1]]), axis=1)
    return (np.cumsum(groups, axis=1) - groups / 2.0)[:, codes]


def _correlation(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Correlations of two columns, `[n]` or `[draws, n]`, with weights `[draws, n]`; 0 where one is constant."""
    total = weights.sum(1, keepdims=True)
    one, two = (column - (weights * column).sum(1, keepdims=True) / total for column in (first, second))
    product, left, right = ((weights * a * b).sum(1) for a, b in ((one, two), (one, one), (two, two)))
    variance = left * right
    return np.divide(product, np.sqrt(variance), out=np.zeros_like(product), where=variance > 1e-12 * total[:, 0] ** 2)
