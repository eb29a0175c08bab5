"""Means over clusters against SciPy where clusters are equally large, and the jackknife over clusters elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import sem

from benchmark.statistics.clusters import ratio


def test_equal_clusters_are_as_many_observations() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, (9, 4))
    clusters = np.repeat(np.arange(9), 4) * 7
    mean, error = ratio(values.ravel(), np.ones(36), clusters)
    assert mean == pytest.approx(values.mean())
    assert error == pytest.approx(sem(values.mean(1)))
    # Groups of any size make the same clusters, in any order.
    order = np.random.default_rng(1).permutation(9)
    grouped = ratio(values.sum(1)[order], np.full(9, 4.0), order)
    assert grouped == pytest.approx((mean, error))


def test_unequal_clusters_are_those_of_the_jackknife() -> None:
    rng = np.random.default_rng(2)
    counts = rng.integers(3, 40, 60).astype(float)
    sums = counts * rng.normal(0.4, 0.1, 60)
    mean, error = ratio(sums, counts, np.arange(60))
    without = np.array([(sums.sum() - s) / (counts.sum() - n) for s, n in zip(sums, counts, strict=True)])
    assert mean == pytest.approx(sums.sum() / counts.sum())
    # Two estimates of one error, which differ in terms of a smaller order.
    assert error == pytest.approx(np.sqrt(59 / 60 * ((without - without.mean()) ** 2).sum()), rel=0.05)


def test_one_cluster_has_no_error() -> None:
    assert ratio(np.array([1.0, 2.0]), np.array([2.0, 2.0]), np.array([5, 5])) == (0.75, None)
