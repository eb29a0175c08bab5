"""The statistics on real replicates: 100 fine-tunings of one BERT_BASE on MNLI (McCoy et al. 2020, arXiv 1911.02969).

Known are how many of the runs answer each example correctly, and the accuracy of each run. They are one system, so
that every difference between them is noise.
"""

from __future__ import annotations

import csv
import gzip
import math
import os
from pathlib import Path

import numpy as np
import pytest

from benchmark.statistics import intervals, pairs
from benchmark.statistics.intervals import Runs, Seeds
from benchmark.statistics.pairs import Entry
from benchmark.statistics.scales import PROPORTION
from benchmark.statistics.variance import UNKNOWN, Variance, shrunk

SEEDS = 3
SYSTEMS = 33


@pytest.fixture(scope="module")
def bert100() -> tuple[np.ndarray, np.ndarray]:
    """The share of runs that answer each example correctly, `[9815]`, and the accuracy of each run, `[100]`."""
    folder = Path(os.environ.get("AUTODISTILL_DATA", "")) / "glue" / "MNLI"
    if "AUTODISTILL_DATA" not in os.environ or not (folder / "dev_matched.bert100.tsv.gz").is_file():
        pytest.skip("AUTODISTILL_DATA has no glue/MNLI/dev_matched.bert100.tsv.gz")

    def column(name: str, field: str) -> np.ndarray:
        with gzip.open(folder / name, "rt") as file:
            return np.array([float(row[field]) for row in csv.DictReader(file, delimiter="\t")])

    shares = column("dev_matched.bert100.tsv.gz", "correct_of_100") / 100.0
    return shares, 100.0 * column("dev_matched.bert100.runs.tsv.gz", "mnli_dev_matched_accuracy")


def board(shares: np.ndarray, groups: np.ndarray) -> tuple[list[Entry], np.ndarray]:
    """Entries of systems that are groups of runs, with the covariance of their means over examples.

    The answers of single runs are not known; that runs answer an example independently gives their expected products.
    """
    count, seeds = len(shares), groups.shape[1]
    # An answer of a run has p (1 - p) beside what all runs share, which is the difficulty of the example.
    own, common = 1e4 * float(np.mean(shares * (1.0 - shares))), 1e4 * float(np.var(shares))
    interaction = Variance(own / seeds / count, (seeds - 1.0) * (count - 1.0)) if seeds > 1 else UNKNOWN
    examples = Variance((common + own / seeds) / count, count - 1.0)
    runs = [Runs((tuple(group),)) for group in groups]
    known = [intervals.own_seeds(own_runs, PROPORTION).finetune for own_runs in runs]
    entries = []
    for own_runs, variance in zip(runs, shrunk(known), strict=True):
        of_mean, slope = Seeds(variance).of_mean(own_runs), PROPORTION.slope(own_runs.mean)
        seeds_variance = Variance(of_mean.value / slope**2, of_mean.degrees)
        entries.append(Entry(own_runs.mean, seeds_variance, examples, interaction))
    covariance = np.full((len(runs), len(runs)), common / count)
    np.fill_diagonal(covariance, examples.value)
    return entries, covariance


def test_the_data_are_those_of_the_paper(bert100: tuple[np.ndarray, np.ndarray]) -> None:
    shares, accuracies = bert100
    assert (len(shares), len(accuracies)) == (9815, 100)
    assert accuracies.mean() == pytest.approx(100.0 * shares.mean(), abs=0.01) == pytest.approx(84.34, abs=0.01)
    assert accuracies.std(ddof=1) == pytest.approx(0.24, abs=0.01)


def test_examples_alone_call_one_system_two(bert100: tuple[np.ndarray, np.ndarray]) -> None:
    shares, accuracies = bert100
    # A paired test over examples knows how often two runs disagree, and nothing of what moves a whole run.
    limit = 1.96 * 100.0 * math.sqrt(2.0 * float(np.mean(shares * (1.0 - shares))) / len(shares))
    differences = np.abs(accuracies[:, None] - accuracies)[np.triu_indices(100, 1)]
    assert np.mean(differences > limit) == pytest.approx(0.156, abs=0.005)


def test_one_system_is_seldom_called_two(bert100: tuple[np.ndarray, np.ndarray]) -> None:
    shares, accuracies = bert100
    rng, single, any_pair = np.random.default_rng(0), [], []
    for _ in range(200):
        groups = rng.permutation(accuracies)[: SYSTEMS * SEEDS].reshape(SYSTEMS, SEEDS)
        found = pairs.compare(*board(shares, groups))
        upper = np.triu_indices(SYSTEMS, 1)
        single.append(float(np.mean(found.p[upper] < 0.05)))
        any_pair.append(bool((found.adjusted[upper] < 0.05).any()))
    # One pair in twenty where it is looked at alone, and one board in twenty.
    assert 0.02 < np.mean(single) <= 0.055
    assert np.mean(any_pair) <= 0.05


def test_intervals_hold_other_runs(bert100: tuple[np.ndarray, np.ndarray]) -> None:
    _, accuracies = bert100
    rng, held = np.random.default_rng(1), []
    for _ in range(100):
        order = rng.permutation(accuracies)
        groups, others = order[:30].reshape(10, SEEDS), order[30:]
        runs = [Runs((tuple(group),)) for group in groups]
        variances = shrunk([intervals.own_seeds(own, PROPORTION).finetune for own in runs])
        for own, variance in zip(runs, variances, strict=True):
            low, high = intervals.of_another_run(own, Seeds(variance), PROPORTION) or (0.0, 0.0)
            held.append(float(np.mean((others >= low) & (others <= high))))
    assert 0.93 < np.mean(held) < 0.97
