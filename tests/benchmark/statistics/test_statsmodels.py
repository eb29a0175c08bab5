"""The statistics against those of statsmodels."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api
import statsmodels.formula.api
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from benchmark.statistics import intervals, pairs
from benchmark.statistics.intervals import Runs, Seeds
from benchmark.statistics.pairs import Entry
from benchmark.statistics.scales import PLAIN, PROPORTION
from benchmark.statistics.variance import Variance, of_values


def test_holm() -> None:
    p = np.random.default_rng(0).random(40) ** 3
    _, adjusted, _, _ = multipletests(p, method="holm")
    assert pairs.holm(p) == pytest.approx(adjusted)


def test_paired_examples() -> None:
    rng = np.random.default_rng(1)
    one, two = rng.normal(70, 5, 60), rng.normal(72, 5, 60)
    entries = [Entry(float(x.mean()), examples=intervals.of_examples(x[None] - x.mean())) for x in (one, two)]
    found = pairs.compare(entries, np.cov(one, two) / 60)
    statistic, p, degrees = DescrStatsW(one - two).ttest_mean()
    assert found.difference[0, 1] / found.error[0, 1] == pytest.approx(statistic)
    assert (found.p[0, 1], found.degrees[0, 1]) == (pytest.approx(p), pytest.approx(degrees))


def test_seeds_of_two_systems() -> None:
    one, two = [70.0, 72.0, 71.5, 74.0], [75.0, 75.5, 76.5]
    entries = [Entry(float(np.mean(x)), seeds=Variance(of_values(x).value / len(x), len(x) - 1.0)) for x in (one, two)]
    found = pairs.compare([Entry(e.mean, e.seeds, Variance(0.0, 1.0)) for e in entries])
    _, p, degrees = CompareMeans(DescrStatsW(one), DescrStatsW(two)).ttest_ind(usevar="unequal")
    assert (found.p[0, 1], found.degrees[0, 1]) == (pytest.approx(p), pytest.approx(degrees))


@pytest.mark.parametrize(("right", "count"), [(81, 263), (5, 100), (99, 100)])
def test_the_interval_of_a_proportion(right: int, count: int) -> None:
    percent = 100.0 * right / count
    variance = Variance(percent * (100.0 - percent) / count, math.inf)
    found = intervals.of_the_mean(Runs(((percent,),), variance, count), variance, PROPORTION)
    expected = proportion_confint(right, count, method="wilson")
    assert found is not None and np.array(found) / 100.0 == pytest.approx(expected)


def test_another_run_is_the_prediction_interval_of_a_mean() -> None:
    values = (70.0, 72.5, 69.0, 71.0)
    fitted = statsmodels.api.OLS(np.array(values), np.ones(4)).fit()
    expected = fitted.get_prediction(np.ones((1, 1))).summary_frame(alpha=0.05)
    low, high = intervals.of_another_run(Runs((values,)), Seeds(of_values(values)), PLAIN) or (0.0, 0.0)
    assert (low, high) == (pytest.approx(expected["obs_ci_lower"][0]), pytest.approx(expected["obs_ci_upper"][0]))


def test_nested_seeds_are_a_mixed_model() -> None:
    """Distillations with several fine-tunings each: the components of variance that restricted likelihood finds."""
    rng = np.random.default_rng(4)
    scores = 70.0 + 2.0 * rng.normal(size=(30, 1)) + rng.normal(size=(30, 4))
    found = intervals.own_seeds(Runs(tuple(map(tuple, scores))), PLAIN)
    frame = pd.DataFrame({"score": scores.ravel(), "student": np.repeat(np.arange(30), 4)})
    fitted = statsmodels.formula.api.mixedlm("score ~ 1", frame, groups=frame["student"]).fit(reml=True)
    assert found.finetune.value == pytest.approx(fitted.scale, rel=1e-3)
    assert found.distill.value == pytest.approx(float(fitted.cov_re.iloc[0, 0]), rel=1e-3)
