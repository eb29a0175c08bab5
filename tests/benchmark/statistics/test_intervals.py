"""Intervals of scores: closed forms, and coverage on simulated runs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from benchmark.statistics import intervals
from benchmark.statistics.intervals import Runs, Seeds
from benchmark.statistics.scales import CORRELATION, PLAIN, PROPORTION, SCALES
from benchmark.statistics.variance import UNKNOWN, Variance, of_values, shrunk
from tests.benchmark.statistics.simulated import DIFFICULTY, outcomes

LEVELS = (0.0, 1.5, 3.5, 5.0)
"""Accuracies of about 50, 80, 98 and 99.9 %."""


@pytest.mark.parametrize("scale", [PROPORTION, CORRELATION, PLAIN])
def test_scales_are_taken_back_and_have_their_slope(scale: object) -> None:
    for percent in (3.0, 50.0, 98.5):
        assert scale.back(scale.to(percent)) == pytest.approx(percent)  # type: ignore[attr-defined]
        step = (scale.to(percent + 1e-4) - scale.to(percent - 1e-4)) / 2e-4  # type: ignore[attr-defined]
        assert scale.slope(percent) == pytest.approx(step, rel=1e-4)  # type: ignore[attr-defined]
    assert 0.0 <= PROPORTION.back(-1.0) <= PROPORTION.back(9.0) <= 100.0
    assert math.isfinite(CORRELATION.to(100.0)) and SCALES["matthews"] is CORRELATION
    # A seed without an error is no outlier among others near it.
    assert CORRELATION.to(100.0) - CORRELATION.to(99.0) < 1.2


def test_a_perfect_correlation_has_an_interval_that_holds_it() -> None:
    runs = Runs(((100.0, 100.0, 100.0),), Variance(0.1, 799.0), 800)
    low, high = intervals.of_the_mean(runs, Variance(0.1, 799.0), CORRELATION) or (0.0, 0.0)
    assert 90.0 < low < 99.95 and high == 100.0


def test_another_run_on_the_plain_scale_has_the_interval_of_the_textbook() -> None:
    values = (70.0, 72.5, 69.0)
    seeds = Seeds(of_values(values))
    low, high = intervals.of_another_run(Runs((values,)), seeds, PLAIN) or (0.0, 0.0)
    half = scipy.stats.t.ppf(0.975, 2) * np.std(values, ddof=1) * math.sqrt(1 + 1 / 3)
    assert (low, high) == (pytest.approx(np.mean(values) - half), pytest.approx(np.mean(values) + half))
    assert intervals.of_another_run(Runs(((70.0,),)), Seeds(), PLAIN) is None


def test_nested_seeds_are_told_apart() -> None:
    scores = ((70.0, 72.0), (75.0, 75.0), (80.0, 84.0))
    found = intervals.own_seeds(Runs(scores), PLAIN)
    assert found.finetune.value == pytest.approx((2.0 + 0.0 + 8.0) / 3)
    assert found.distill.value == pytest.approx(np.var([71, 75, 82], ddof=1) - found.finetune.value / 2)
    assert (found.finetune.degrees, found.distill.degrees) == (3.0, 2.0)
    # One fine-tuning for each student: both kinds of seeds at once.
    assert intervals.own_seeds(Runs(((70.0,), (74.0,))), PLAIN) == Seeds(UNKNOWN, Variance(8.0, 1.0))


def test_the_interval_of_a_mean_without_seeds_is_wilsons() -> None:
    right = np.repeat([100.0, 0.0], [81, 182])[None]
    examples = intervals.of_examples(right - right.mean())
    runs = Runs(((float(right.mean()),),), examples, 263)
    # With the normal quantile and the variance p (1 - p) / n: Newcombe (1998), table I, 81 of 263.
    low, high = intervals.of_the_mean(runs, Variance(examples.value * 262 / 263, math.inf), PROPORTION) or (0.0, 0.0)
    assert (round(low, 2), round(high, 2)) == (25.53, 36.62)
    # Without an error the number of examples decides.
    low, high = intervals.of_the_mean(Runs(((100.0,),), examples, 100), Variance(0.0, math.inf), PROPORTION) or (0, 0)
    assert high == 100.0 and low == pytest.approx(100.0 / (1.0 + 1.959963984540054**2 / 100))


def held(rng: np.random.Generator, level: float, seeds: int, systems: int = 6) -> tuple[list[bool], list[bool]]:
    """Simulates a board and says which intervals of another run, and of the mean, hold what they promise."""
    scale, count = PROPORTION, int(rng.choice([200, 600]))
    between_runs, between_answers = 0.2, 0.4
    levels = level + 0.3 * rng.normal(size=systems)
    # Each system has examples of its own, so that its interval is a new trial.
    simulated = [
        outcomes(rng, DIFFICULTY * rng.normal(size=count), one, seeds + 1, between_runs, between_answers)
        for one in levels
    ]
    runs = [Runs((tuple(right[:-1].mean(1)),)) for right in simulated]
    finetune = shrunk([intervals.own_seeds(own, scale).finetune for own in runs])
    spread = math.sqrt(DIFFICULTY**2 + between_runs**2 + between_answers**2)
    of_run, of_mean = [], []
    for right, own, variance, one in zip(simulated, runs, finetune, levels, strict=True):
        another = intervals.of_another_run(own, Seeds(variance), scale)
        of_run.append(another is not None and another[0] <= right[-1].mean() <= another[1])
        influences = right[:-1] - right[:-1].mean(1, keepdims=True)
        seeds_of_mean, examples = Seeds(variance).of_mean(own), intervals.of_examples(influences)
        raw = Variance(seeds_of_mean.value / scale.slope(own.mean) ** 2, seeds_of_mean.degrees)
        whole = intervals.of_mean(examples, raw, intervals.shared_by_both(influences))
        mean = intervals.of_the_mean(Runs(own.scores, examples, count), whole, scale)
        of_mean.append(mean is not None and mean[0] <= 100.0 * scipy.stats.norm.cdf(one / spread) <= mean[1])
    return of_run, of_mean


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_intervals_hold_what_they_promise(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    shares = []
    for level in LEVELS:
        boards = [held(rng, level, seeds) for _ in range(200)]
        shares.append([float(np.mean([one[kind] for one in boards])) for kind in (0, 1)])
    # 1,200 trials of each level have a standard error of 0.6 points.
    assert np.abs(np.mean(shares, axis=0) - 0.95).max() <= 0.015, shares
    assert np.abs(np.array(shares) - 0.95).max() <= 0.03, shares
