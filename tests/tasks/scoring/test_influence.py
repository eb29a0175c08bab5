"""Influences of examples against the jackknife, the bootstrap and the scores themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tasks.catalogue import get_task
from tasks.scoring import metrics, outcomes
from tasks.scoring.influence import clusters, sums

COUNT = 150
RNG = np.random.default_rng(3)
# A task for each metric, with references and predictions of it.
COLUMNS: dict[str, tuple[str, Any]] = {
    "accuracy": ("glue_mnli_matched_v1", lambda: RNG.integers(0, 3, COUNT)),
    "f1": ("glue_mrpc_v1", lambda: RNG.integers(0, 2, COUNT)),
    "matthews": ("glue_cola_v1", lambda: RNG.integers(0, 2, COUNT)),
    "pearson": ("glue_stsb_v1", lambda: np.round(RNG.uniform(0, 5, COUNT), 1)),
    "spearman": ("glue_stsb_v1", lambda: np.round(RNG.uniform(0, 5, COUNT), 1)),
}


def influences(task: Any, predictions: Any, references: Any) -> dict[str, np.ndarray]:
    """The influences of the examples of one run, of paragraphs for a span task."""
    found = outcomes.outcomes(task, [predictions], references)
    return {name: outcomes.influences(name, found["references"], found["runs"])[0] for name in task.metrics}


def columns(metric: str) -> tuple[Any, np.ndarray, np.ndarray]:
    name, draw = COLUMNS[metric]
    references, other = draw(), draw()
    return get_task(name), references, np.where(RNG.random(COUNT) < 0.7, references, other)


@pytest.mark.parametrize("metric", COLUMNS)
def test_an_influence_is_what_leaving_an_example_out_takes_away(metric: str) -> None:
    task, references, predictions = columns(metric)
    found = influences(task, predictions, references)[metric]
    assert found.mean() == pytest.approx(0.0, abs=1e-9)
    whole = metrics.score(task, predictions, references)[metric]
    left_out = [metrics.score(task, np.delete(predictions, i), np.delete(references, i))[metric] for i in range(COUNT)]
    np.testing.assert_allclose(found, (COUNT - 1) * (whole - np.array(left_out)), rtol=0.02, atol=0.05 * found.std())


@pytest.mark.parametrize("metric", COLUMNS)
def test_their_variance_is_that_of_the_bootstrap(metric: str) -> None:
    task, references, predictions = columns(metric)
    found = influences(task, predictions, references)[metric]
    chosen = RNG.integers(COUNT, size=(400, COUNT))
    drawn = [metrics.score(task, predictions[rows], references[rows])[metric] for rows in chosen]
    assert found.std() / COUNT**0.5 == pytest.approx(np.std(drawn), rel=0.15)


def test_what_is_no_label_counts_as_wrong() -> None:
    references = np.array([1, 0, 1, 0, 1])
    odd = influences(get_task("glue_mrpc_v1"), np.array([1, 0, 7, 7, 0]), references)["f1"]
    wrong = influences(get_task("glue_mrpc_v1"), np.array([1, 0, 0, 1, 0]), references)["f1"]
    np.testing.assert_array_equal(odd, wrong)


@pytest.mark.parametrize(
    ("task", "references", "predictions"),
    [
        ("glue_cola_v1", np.array([0, 1, 1, 0]), np.zeros(4, int)),
        ("glue_mrpc_v1", np.zeros(4, int), np.zeros(4, int)),
        ("glue_stsb_v1", np.array([0.0, 1.0, 2.5, 5.0]), np.full(4, 2.0)),
    ],
)
def test_a_score_that_is_not_defined_is_not_moved(task: str, references: np.ndarray, predictions: np.ndarray) -> None:
    found = influences(get_task(task), predictions, references)
    primary = get_task(task).primary_metric
    assert metrics.score(task, predictions, references)[primary] == 0.0
    np.testing.assert_array_equal(found[primary], np.zeros(4))


def test_questions_of_a_paragraph_are_drawn_together() -> None:
    task = get_task("squad_v1_1_v1")
    examples = [
        {"id": str(i), "context": f"paragraph {i % 3}", "answers": [{"text": "a cat", "answer_start": 0}]}
        for i in range(9)
    ]
    predictions = {str(i): "a cat" if i % 3 == 0 else "a dog" if i % 2 else "the" for i in range(9)}
    found, groups = influences(task, predictions, examples), clusters(task, examples)
    assert sorted(np.bincount(groups)) == [3, 3, 3]
    # The mean over examples, as one over paragraphs of one size.
    by_paragraph = found["exact_match"]
    assert by_paragraph.sum() == pytest.approx(0.0, abs=1e-9)
    exact = metrics.per_example_scores(task, predictions, examples)["exact_match"]
    expected = [100.0 * exact[groups == group].mean() for group in range(3)]
    np.testing.assert_allclose(by_paragraph, np.array(expected) - 100.0 * exact.mean())
    # Each example is its own elsewhere, in its own place.
    alone = influences(get_task("glue_mrpc_v1"), np.array([1, 0, 0]), np.array([1, 0, 1]))["accuracy"]
    np.testing.assert_array_equal(sums(alone, clusters(get_task("glue_mrpc_v1"), np.array([1, 0, 1]))), alone)
