"""GLUE's metrics against scikit-learn, scipy and exact arithmetic."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from tasks.catalogue import OwnFile, OwnTask, own_task_info
from tasks.scoring import metrics
from tasks.system.errors import DataError

LABELS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60)
NUMBERS = st.lists(st.tuples(st.floats(-1e6, 1e6, width=32), st.floats(-1e6, 1e6, width=32)), min_size=3, max_size=60)


def columns(pairs):
    array = np.array(pairs)
    return array[:, 0], array[:, 1]


@pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")
@given(LABELS)
def test_accuracy_f1_and_matthews_equal_sklearn(pairs):
    references, predictions = columns(pairs)
    assert metrics.accuracy(references, predictions) == pytest.approx(
        100 * sklearn.metrics.accuracy_score(references, predictions), abs=1e-9
    )
    assert metrics.matthews(references, predictions) == pytest.approx(
        100 * sklearn.metrics.matthews_corrcoef(references, predictions), abs=1e-9
    )
    assert metrics.macro_f1(references, predictions) == pytest.approx(
        100 * sklearn.metrics.f1_score(references, predictions, average="macro", zero_division=0), abs=1e-9
    )
    first, second = references % 2, predictions % 2
    assert metrics.f1(first, second) == pytest.approx(
        100 * sklearn.metrics.f1_score(first, second, zero_division=0), abs=1e-9
    )


@given(NUMBERS)
def test_correlations_equal_scipy(pairs):
    references, predictions = columns(pairs)
    constant = np.ptp(references) == 0 or np.ptp(predictions) == 0
    if constant:
        assert metrics.pearson(references, predictions) == metrics.spearman(references, predictions) == 0.0
        return
    expected = scipy.stats.spearmanr(references, predictions).statistic
    assert metrics.spearman(references, predictions) == pytest.approx(100 * expected, abs=1e-9)
    # Where the spread vanishes against the mean, scipy loses digits; the next test has those cases too.
    if min(np.ptp(column) / np.abs(column).max() for column in (references, predictions)) > 1e-3:
        expected = scipy.stats.pearsonr(references, predictions).statistic
        assert metrics.pearson(references, predictions) == pytest.approx(100 * expected, abs=1e-9)


@given(NUMBERS)
def test_pearson_equals_exact_arithmetic(pairs):
    references, predictions = columns(pairs)
    if np.ptp(references) == 0 or np.ptp(predictions) == 0:
        return
    first, second = ([Fraction(value) for value in column.tolist()] for column in (references, predictions))
    first = [value - sum(first) / len(first) for value in first]
    second = [value - sum(second) / len(second) for value in second]
    covariance = sum(a * b for a, b in zip(first, second, strict=True))
    square = covariance**2 / (sum(a * a for a in first) * sum(b * b for b in second))
    expected = math.copysign(math.sqrt(square), covariance)
    assert metrics.pearson(references, predictions) == pytest.approx(100 * expected, abs=1e-9)


def test_matthews_of_large_sets_does_not_overflow():
    rng = np.random.default_rng(0)
    references = rng.integers(0, 2, 400_000)
    predictions = np.where(rng.random(400_000) < 0.8, references, 1 - references)
    expected = 100 * sklearn.metrics.matthews_corrcoef(references, predictions)
    assert metrics.matthews(references, predictions) == pytest.approx(expected, abs=1e-9)


def test_score_gives_the_metrics_of_the_task_primary_first():
    scores = metrics.score("glue_mrpc_v1", [1, 1, 0, 0], [1, 0, 0, 0])
    assert list(scores) == ["f1", "accuracy"]
    assert scores == pytest.approx({"f1": 200 / 3, "accuracy": 75.0})
    assert metrics.score("glue_stsb_v1", [1.0, 2.0, 3.0], [0.0, 2.5, 5.0])["pearson"] == pytest.approx(100)
    # F1 and Matthews tell apart which column is which only through their arguments' order.
    assert metrics.score("glue_mrpc_v1", [1, 1, 1, 0], [1, 0, 0, 0])["f1"] == pytest.approx(50.0)


@pytest.mark.parametrize(
    ("task", "predictions", "references", "message"),
    [
        ("glue_sst2_v1", [1], [1, 0], "shape"),
        ("glue_sst2_v1", [], [], "shape"),
        ("glue_sst2_v1", [1, 0], [1, -1], "reference 1 has no label"),
        ("glue_stsb_v1", [1.0, float("nan")], [1.0, 2.0], "prediction 1 is not a finite number"),
        ("squad_v1_1_v1", {"z": "a"}, [{"id": "q", "answers": []}], "no example"),
        ("squad_v1_1_v1", {}, [], "no references"),
        ("squad_v1_1_v1", {"q": ""}, [{"id": "q", "answers": []}], "the question 'q' has no answer"),
    ],
)
def test_unusable_input_is_refused(task, predictions, references, message):
    with pytest.raises(DataError, match=message):
        metrics.score(task, predictions, references)


def test_an_own_task_is_scored_by_its_entry():
    """A label of an own regression may be any number, -1 too; a label that is missing is refused."""
    values = {"validation_fraction": 0.1, "split_seed": 0, "text_columns": ("text",), "label_column": "label"}
    values |= {"name": "mine_v1", "title": "", "unanswerable": False, "label_names": (), "label_range": ()}
    file = OwnFile(split="train", path="t.tsv", format="tsv")
    task = OwnTask(**values, files=(file,), kind="regression", metrics=("pearson",))
    assert metrics.score(own_task_info(task), [1.0, 2.0], [-1.0, 0.0]) == {"pearson": pytest.approx(100)}
    classes = dataclasses.replace(task, kind="classification", label_names=("a", "b", "c"), metrics=("macro_f1",))
    assert metrics.score(own_task_info(classes), [0, 1, 1], [0, 1, 2]) == {"macro_f1": pytest.approx(100 * 5 / 9)}
    with pytest.raises(DataError, match="mine_v1: reference 1 has no label"):
        metrics.score(own_task_info(classes), [0, 1], [0, -1])


def test_per_example_scores_average_to_the_score():
    predictions, references = [1, 0, 1], [1, 1, 1]
    values = metrics.per_example_scores("glue_sst2_v1", predictions, references)["accuracy"]
    assert values.tolist() == [1.0, 0.0, 1.0]
    assert 100 * values.mean() == pytest.approx(metrics.score("glue_sst2_v1", predictions, references)["accuracy"])
    assert metrics.per_example_scores("glue_stsb_v1", [1.0], [2.0]) == {}
