"""Variances between runs against NumPy, SciPy and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from benchmark.statistics.variance import UNKNOWN, Variance, of_values, pooled, prior_degrees, shrunk, total


def test_values_have_their_unbiased_variance() -> None:
    values = [81.2, 80.4, 83.9, 82.0]
    found = of_values(values)
    assert (found.value, found.degrees) == (pytest.approx(np.var(values, ddof=1)), 3.0)
    assert of_values([81.2]) == UNKNOWN and not UNKNOWN.known


def test_pooling_weighs_by_degrees_of_freedom() -> None:
    groups = [[1.0, 2.0, 4.0], [10.0, 11.0], [3.0]]
    residuals = [value - np.mean(group) for group in groups for value in group]
    found = pooled([of_values(group) for group in groups])
    assert (found.value, found.degrees) == (pytest.approx(np.square(residuals).sum() / 3), 3.0)
    assert pooled([UNKNOWN]) == UNKNOWN


def test_a_sum_has_the_degrees_of_freedom_of_welch() -> None:
    first, second = [1.0, 2.0, 4.0, 4.5], [10.0, 10.5, 11.0]
    whole = total((1 / 4, of_values(first)), (1 / 3, of_values(second)))
    welch = scipy.stats.ttest_ind(first, second, equal_var=False)
    assert whole.degrees == pytest.approx(welch.df)
    assert whole.value == pytest.approx(((np.mean(first) - np.mean(second)) / welch.statistic) ** 2)
    assert total((1.0, Variance(0.0, 3.0)), (1.0, UNKNOWN)) == Variance(0.0, 3.0)
    assert total((1.0, Variance(2.0, math.inf))) == Variance(2.0, math.inf)


def test_equal_variances_are_pooled_and_different_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    equal = [of_values(rng.normal(0, 2, 4).tolist()) for _ in range(60)]
    different = [of_values(rng.normal(0, sd, 4).tolist()) for sd in rng.choice([0.5, 4.0], 60)]
    assert prior_degrees(equal) > 10.0 > prior_degrees(different) >= 2.0
    for variances in (equal, different):
        for own, better in zip(variances, shrunk(variances), strict=True):
            centre = pooled(variances).value
            assert min(own.value, centre) - 1e-12 <= better.value <= max(own.value, centre) + 1e-12
            assert own.degrees < better.degrees <= pooled(variances).degrees
    # A system with one run has what is known of the others.
    *_, without = shrunk([*different, UNKNOWN])
    assert without.value == pytest.approx(pooled(different).value) and without.degrees == prior_degrees(different)
    assert shrunk([UNKNOWN, UNKNOWN]) == [UNKNOWN, UNKNOWN]


def test_shrinking_brings_estimates_nearer_to_the_truth() -> None:
    rng = np.random.default_rng(1)
    errors = []
    for _ in range(200):
        truths = 1.0 / rng.gamma(4.0, 1.0 / 4.0, 12)
        variances = [of_values(rng.normal(0.0, truth**0.5, 3).tolist()) for truth in truths]
        guesses = ([v.value for v in variances], [pooled(variances).value] * 12, [v.value for v in shrunk(variances)])
        errors.append([np.mean(np.square(np.array(guess) - truths)) for guess in guesses])
    own, together, better = np.mean(errors, axis=0)
    assert better < 0.9 * own and better < 1.02 * together


def test_a_variance_beyond_all_luck_is_left_to_its_own_system() -> None:
    quiet = [of_values(values) for values in ([80.0, 80.5, 81.0], [70.0, 71.0, 70.5], [60.0, 60.5, 60.0])]
    wild = of_values([0.0, 50.0, 100.0])
    assert shrunk([*quiet, wild]) == [*shrunk(quiet), wild]
    many = of_values([0.0, 100.0] * 50)
    assert shrunk([many, *quiet])[1:] == shrunk(quiet)
