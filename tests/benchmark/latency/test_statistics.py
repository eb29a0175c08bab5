"""Percentile bounds against the binomial distribution, and intervals against simulated measurements of known truth."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmark.latency.statistics import (
    bound_rank,
    log_interval,
    median_seconds,
    noise_floor,
    percentile_bounds,
    speedup,
)


def samples(ratios: list[list[float]]) -> tuple[list[list[int]], list[list[int]]]:
    """Candidate and reference whose pair ratios are given."""
    return [[1000] * len(p) for p in ratios], [[round(1000 * r) for r in p] for p in ratios]


# The minimum counts of MLPerf inference, and the ranks that its rule gives for 1,000 samples.
@pytest.mark.parametrize(("fraction", "least"), [(0.5, 11), (0.9, 64), (0.95, 130), (0.99, 662), (0.999, 6636)])
def test_fewest_samples_of_a_percentile(fraction: float, least: int) -> None:
    assert bound_rank(least - 1, fraction) is None
    assert bound_rank(least, fraction) == least


def test_ranks_of_a_thousand_samples() -> None:
    assert (bound_rank(1000, 0.9), bound_rank(1000, 0.99)) == (923, 999)


@given(count=st.integers(0, 3000), fraction=st.sampled_from([0.5, 0.9, 0.99]))
def test_the_rank_is_the_lowest_that_bounds(count: int, fraction: float) -> None:
    rank = bound_rank(count, fraction)
    # Dropping the t - 1 largest: at most 1 % of draws have at most t samples above the percentile.
    dropped = np.arange(1, max(count, 1))
    allowed = dropped[stats.binom.sf(count - dropped - 1, count, fraction) <= 0.01]
    assert rank == (count - int(allowed.max()) + 1 if len(allowed) else None)


def test_bounds_hold_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    draws = rng.lognormal(0.0, 1.0, (1000, 100)) * 1e6
    truth = stats.lognorm.ppf(0.9, 1.0) * 1e6 * 1e-9
    held = [percentile_bounds([draw.astype(int).tolist()])["p90"] >= truth for draw in draws]
    assert np.mean(held) >= 0.985


def test_percentiles_of_few_samples_are_not_available() -> None:
    assert percentile_bounds([[5] * 5, [7] * 5]) == {"p50": None, "p90": None, "p99": None}
    assert percentile_bounds([[5] * 50, [7] * 50]) == {
        "p50": pytest.approx(7e-9),
        "p90": pytest.approx(7e-9),
        "p99": None,
    }
    assert median_seconds([[5] * 50, [7] * 51]) == pytest.approx(7e-9)


def test_speedup_of_known_ratios() -> None:
    # Medians 2 and 8 have the geometric mean 4; a slow pair does not move its process's median.
    value, (low, high) = speedup(*samples([[2.0, 2.0, 50.0], [8.0, 8.0, 0.1]]))
    assert value == pytest.approx(4.0)
    expected = stats.t.interval(0.95, 1, loc=np.log(4.0), scale=stats.sem(np.log([2.0, 8.0])) * np.sqrt(2))
    assert np.log([low, high]) == pytest.approx(expected, rel=1e-6)


def test_speedup_of_one_process_spans_its_quartiles() -> None:
    value, (low, high) = speedup(*samples([[1.0, 2.0, 3.0, 4.0, 5.0]]))
    assert value == pytest.approx(3.0)
    assert low <= 2.0 and high >= 4.0


def test_an_interval_is_never_narrower_than_the_noise_floor() -> None:
    value, (low, high) = speedup(*samples([[2.0] * 4] * 5), floor=0.1)
    assert (value, low, high) == pytest.approx((2.0, 2.0 * np.exp(-0.1), 2.0 * np.exp(0.1)))


@given(st.lists(st.lists(st.floats(0.5, 5.0), min_size=1, max_size=9), min_size=2, max_size=6), st.randoms())
def test_the_order_of_processes_does_not_matter(ratios: list[list[float]], random: object) -> None:
    shuffled = list(ratios)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert speedup(*samples(shuffled)) == speedup(*samples(ratios))


def test_noise_floor() -> None:
    assert noise_floor(*samples([[1.0] * 20, [1.0] * 20])) == 0.0
    # A difference that is the same in every process is noise too: nothing differs but the order.
    assert noise_floor(*samples([[1.1] * 20] * 3)) == pytest.approx(np.log(1.1), rel=1e-3)
    wide = np.random.default_rng(0).uniform(0.5, 2.0, (5, 30)).tolist()
    assert noise_floor(*samples(wide)) > 0.05


def simulated(rng: np.random.Generator, between: float, draw: Callable[..., np.ndarray]) -> list[np.ndarray]:
    """Log ratios of five processes with 40 pairs each; the truth is 0."""
    return [rng.normal(0.0, between) + draw(rng, 40) for _ in range(5)]


def skewed(rng: np.random.Generator, count: int) -> np.ndarray:
    """Pairs with interruptions of either side; the median is 0."""
    base = rng.normal(0.0, 0.05, count)
    return base + rng.choice([-1.0, 0.0, 1.0], count, p=[0.05, 0.9, 0.05]) * rng.exponential(0.5, count)


def quiet(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.normal(0.0, 0.02, count)


def bootstrap(logs: list[np.ndarray], rng: np.random.Generator) -> tuple[float, float]:
    """The rival: percentiles of a bootstrap over processes and then pairs."""
    centers = []
    for _ in range(100):
        chosen = rng.integers(0, len(logs), len(logs))
        centers.append(np.mean([np.median(rng.choice(logs[i], len(logs[i]))) for i in chosen]))
    return tuple(np.quantile(centers, [0.025, 0.975]))


@pytest.mark.parametrize(("between", "draw"), [(0.03, quiet), (0.0, skewed), (0.1, skewed)])
def test_intervals_cover_the_truth(between: float, draw: Callable[..., np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(2000):
        logs = simulated(rng, between, draw)
        center, half = log_interval([[10**9] * 40] * 5, nanoseconds(logs))
        held += abs(center) <= half
    # 95 %, and three standard errors of it.
    assert 0.935 <= held / 2000 <= 0.965


def nanoseconds(logs: list[np.ndarray]) -> list[list[int]]:
    return [np.rint(1e9 * np.exp(x)).astype(int).tolist() for x in logs]


@pytest.mark.parametrize(("between", "draw"), [(0.03, quiet), (0.1, skewed)])
def test_an_interval_holds_the_estimate_of_another_measurement(between: float, draw: Callable[..., np.ndarray]) -> None:
    rng = np.random.default_rng(3)
    held, truth = [], []
    for _ in range(1500):
        one, two = (speedup([[10**9] * 40] * 5, nanoseconds(simulated(rng, between, draw))) for _ in range(2))
        held.append(one[1][0] <= two[0] <= one[1][1])
        truth.append(one[1][0] <= 1.0 <= one[1][1])
    assert 0.933 <= np.mean(held) <= 0.967
    # The true value, which does not err, is inside more often.
    assert np.mean(truth) >= 0.975


def test_a_bootstrap_over_five_processes_would_not() -> None:
    rng = np.random.default_rng(2)
    intervals = [bootstrap(simulated(rng, 0.03, quiet), rng) for _ in range(150)]
    assert np.mean([low <= 0.0 <= high for low, high in intervals]) < 0.9


@settings(max_examples=30)
@given(st.integers(2, 6), st.integers(1, 5))
def test_wrong_pairing_is_refused(processes: int, pairs: int) -> None:
    with pytest.raises(ValueError):
        log_interval([[1] * pairs] * processes, [[1] * pairs] * (processes - 1))
