"""Comparisons of systems against SciPy's tests and on simulated boards."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from benchmark.statistics import intervals, pairs
from benchmark.statistics.intervals import Runs, Seeds
from benchmark.statistics.pairs import Entry
from benchmark.statistics.scales import PROPORTION
from benchmark.statistics.variance import Variance, of_values, shrunk
from tests.benchmark.statistics.simulated import DIFFICULTY, outcomes


def test_examples_alone_are_the_paired_test_of_student() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.normal(70, 5, 40), rng.normal(71, 5, 40)
    entries = [Entry(float(x.mean()), examples=intervals.of_examples(x[None] - x.mean())) for x in (one, two)]
    covariance = np.cov(one, two) / 40
    found, expected = pairs.compare(entries, covariance), scipy.stats.ttest_rel(one, two)
    assert found.p[0, 1] == pytest.approx(expected.pvalue) == found.p[1, 0]
    assert found.difference[0, 1] / found.error[0, 1] == pytest.approx(expected.statistic)
    assert found.degrees[0, 1] == pytest.approx(39)


def test_seeds_alone_are_the_test_of_welch() -> None:
    one, two = [70.0, 72.0, 71.5, 74.0], [75.0, 75.5, 76.5]
    entries = [Entry(float(np.mean(x)), seeds=Variance(of_values(x).value / len(x), len(x) - 1.0)) for x in (one, two)]
    expected = scipy.stats.ttest_ind(one, two, equal_var=False)
    found = pairs.compare([dataclasses.replace(entry, examples=Variance(0.0, 1.0)) for entry in entries])
    assert found.p[0, 1] == pytest.approx(expected.pvalue)
    assert found.degrees[0, 1] == pytest.approx(expected.df)


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_against_its_definition(p: list[float]) -> None:
    found = pairs.holm(np.array(p))
    order = sorted(range(len(p)), key=lambda i: p[i])
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
        assert found[index] == pytest.approx(largest)


def test_what_is_not_known_tells_nothing_apart() -> None:
    known = Variance(1.0, 50.0)
    found = pairs.compare([Entry(70.0), Entry(99.0), Entry(90.0, examples=known), Entry(70.0, examples=known)])
    assert found.p[0, 1] == found.p[0, 2] == found.p[1, 3] == 1.0 and found.p[2, 3] < 1e-9
    # The one pair of which something is known.
    assert pairs.resolution(found) == pytest.approx(
        2**0.5 * (scipy.stats.t.ppf(0.975, 100) + scipy.stats.t.ppf(0.8, 100))
    )
    assert pairs.resolution(pairs.compare([Entry(70.0)])) is None
    none = Variance(0.0, 50.0)
    found = pairs.compare([Entry(70.0, examples=none), Entry(70.0, examples=none), Entry(71.0, examples=none)])
    assert found.p[0, 1] == 1.0 and found.p[0, 2] == 0.0


def test_unpaired_examples_have_the_degrees_of_freedom_of_welch() -> None:
    entries = [Entry(70.0, examples=Variance(4.0, 10.0)), Entry(60.0, examples=Variance(4.0, 10.0))]
    assert pairs.compare(entries).degrees[0, 1] == pytest.approx(20.0)
    entries[1] = Entry(60.0, examples=Variance(1e-9, 1.0))
    assert pairs.compare(entries).degrees[0, 1] == pytest.approx(10.0)


def test_the_resolution_is_the_difference_that_is_found_four_times_of_five() -> None:
    rng = np.random.default_rng(1)
    noise = Variance(4.0, 20.0)
    least = pairs.resolution(pairs.compare([Entry(70.0, examples=noise)] * 2))
    assert least is not None
    found = 0
    for _ in range(2000):
        estimates = [Variance(noise.value * rng.chisquare(noise.degrees) / noise.degrees, noise.degrees)] * 2
        means = rng.normal([70.0, 70.0 + least], 2.0)
        entries = [Entry(float(m), examples=v) for m, v in zip(means, estimates, strict=True)]
        found += bool(pairs.compare(entries).p[0, 1] < 0.05)
    assert found / 2000 == pytest.approx(0.8, abs=0.04)


def board(rng: np.random.Generator, seeds: int, systems: int, level: float, paired: bool) -> np.ndarray:
    """Adjusted probabilities among systems that are the same, on one development set."""
    difficulty = DIFFICULTY * rng.normal(size=400)
    simulated = [outcomes(rng, difficulty, level, seeds, 0.2, 0.4) for _ in range(systems)]
    influences = [right - right.mean(1, keepdims=True) for right in simulated]
    runs = [Runs((tuple(right.mean(1)),)) for right in simulated]
    finetune = shrunk([intervals.own_seeds(own, PROPORTION).finetune for own in runs])
    entries = []
    for own, variance, moved in zip(runs, finetune, influences, strict=True):
        of_mean, slope = Seeds(variance).of_mean(own), PROPORTION.slope(own.mean)
        raw = Variance(of_mean.value / slope**2, of_mean.degrees)
        entries.append(Entry(own.mean, raw, intervals.of_examples(moved), intervals.shared_by_both(moved)))
    covariance = np.cov(np.array([moved.mean(0) for moved in influences])) / 400 if paired else None
    return pairs.compare(entries, covariance).adjusted


@pytest.mark.parametrize("seeds", [2, 3, 10])
@pytest.mark.parametrize("paired", [True, False])
def test_equal_systems_are_seldom_called_different(seeds: int, paired: bool) -> None:
    rng = np.random.default_rng(seeds)
    for level in (0.0, 3.5):
        false = [bool((board(rng, seeds, 6, level, paired) < 0.05).any()) for _ in range(150)]
        # At most 5 %, but for the luck of 150 boards.
        assert np.mean(false) <= 0.05 + 2.0 * math.sqrt(0.05 * 0.95 / 150), (level, np.mean(false))


def test_a_real_difference_is_found() -> None:
    rng = np.random.default_rng(7)
    difficulty = DIFFICULTY * rng.normal(size=1000)
    simulated = [outcomes(rng, difficulty, level, 3, 0.05, 0.4) for level in (0.0, 0.0, 0.6)]
    runs = [Runs((tuple(right.mean(1)),)) for right in simulated]
    moved = [right - right.mean(1, keepdims=True) for right in simulated]
    entries = []
    for own, influence in zip(runs, moved, strict=True):
        seeds = of_values(own.scores[0])
        entries.append(
            Entry(
                own.mean,
                Variance(seeds.value / 3, seeds.degrees),
                intervals.of_examples(influence),
                intervals.shared_by_both(influence),
            )
        )
    adjusted = pairs.compare(entries, np.cov(np.array([m.mean(0) for m in moved])) / 1000).adjusted
    assert adjusted[0, 1] > 0.05 > max(adjusted[0, 2], adjusted[1, 2])
