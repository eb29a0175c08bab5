"""The bootstrap of all draws at once, against one draw after another."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.scoring import bootstrap, metrics
from tasks.scoring.outcomes import scores

LABELS = ("accuracy", "f1", "macro_f1", "matthews")
VALUES = ("pearson", "spearman")


def one_by_one(name: str, expected: np.ndarray, predicted: np.ndarray, draws: int = 4000) -> np.ndarray:
    """Scores of samples of examples that are drawn with replacement."""
    rng = np.random.default_rng(7)
    chosen = rng.integers(len(expected), size=(draws, len(expected)))
    return np.array([metrics.column_score(name, expected[one], predicted[one]) for one in chosen])


def columns(kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    if kind == "values":
        values = rng.integers(0, 6, 120) / 1.0
        return values, np.round(values + rng.normal(size=120), 1)
    # A third label that is predicted and never expected counts as wrong.
    expected = rng.integers(0, 2, 120)
    return expected, np.where(rng.random(120) < 0.25, rng.integers(0, 3, 120), expected)


@pytest.mark.parametrize("name", [*LABELS, *VALUES])
def test_intervals_are_those_of_single_draws(name: str) -> None:
    expected, predicted = columns("values" if name in VALUES else "labels")
    names = VALUES if name in VALUES else LABELS
    runs = {"predictions": [predicted[::-1].tolist(), predicted.tolist()]}
    low, high = bootstrap.intervals(names, expected.tolist(), runs, 1, draws=4000)[name]
    drawn = np.quantile(one_by_one(name, expected, predicted), (0.025, 0.975))
    # Both ends have an error of about 1.5 % of the width.
    assert (low, high) == pytest.approx(tuple(drawn), abs=0.05 * (high - low))


@pytest.mark.parametrize("name", LABELS)
def test_every_table_has_the_score_of_its_examples(name: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        expected, predicted = rng.integers(0, 2, 6), rng.integers(0, 3, 6)
        # A single draw whose counts are those of the examples.
        labels = np.unique([*expected, *predicted])
        codes = [np.searchsorted(labels, column) for column in (expected, predicted)]
        table = np.zeros((1, len(labels), len(labels)))
        np.add.at(table[0], tuple(codes), 1.0)
        found = 100.0 * bootstrap._OF_TABLES[name](table, labels)
        assert found[0] == pytest.approx(metrics.column_score(name, expected, predicted))


@pytest.mark.parametrize("name", VALUES)
def test_weights_are_repeated_examples(name: str) -> None:
    expected, predicted = columns("values")
    weights = np.random.default_rng(2).multinomial(120, np.full(120, 1 / 120), 5)
    found = bootstrap._values((name,), expected, predicted, 5)[name]
    drawn = bootstrap._counts(120, 5)
    for score, counts in zip(found, drawn, strict=True):
        assert score == pytest.approx(
            metrics.column_score(name, *(np.repeat(c, counts) for c in (expected, predicted)))
        )
    # A constant column has no correlation.
    constant = bootstrap._correlation(np.ones(120), predicted, weights.astype(float))
    assert not constant.any()


def test_questions_of_a_paragraph_are_drawn_together() -> None:
    paragraphs = np.repeat(np.arange(40), 10)
    right = (paragraphs < 20).astype(int)
    runs = {"exact_match": [right.tolist()], "f1": [right.tolist()]}
    assert scores("exact_match", paragraphs.tolist(), runs) == [50.0]
    low, high = bootstrap.intervals(("exact_match", "f1"), paragraphs.tolist(), runs, 0)["exact_match"]
    assert high - low == pytest.approx(2 * 196 * np.sqrt(0.25 / 40), rel=0.15)
