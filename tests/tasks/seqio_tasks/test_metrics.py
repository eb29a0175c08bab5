"""The project's scores against T5's functions on the same predictions, and T5's average over GLUE."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.catalogue import TASKS, get_task
from tasks.scoring import metrics
from tasks.scoring.averages import AVERAGES, average

t5_metrics = pytest.importorskip("t5.evaluation.metrics")
from tasks.seqio_tasks.metrics import metric_fns  # noqa: E402

T5_NAMES = {"matthews": "matthews_corrcoef", "pearson": "pearson_corrcoef", "spearman": "spearman_corrcoef"}
BINARY = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60)
THREE = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60)
# Scores as STS-B has them, and predictions of a model that is clipped to the same range.
GRADES = st.lists(
    st.tuples(st.integers(0, 25).map(lambda n: n / 5), st.floats(0, 5, width=32)), min_size=3, max_size=60
)


def columns(pairs):
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def t5_scores(name, targets, predictions):
    """Returns the scores of T5's functions for a task, under the project's names."""
    found = {}
    for function in metric_fns(get_task(name)):
        # T5's F1 writes into its argument.
        found |= function(list(targets), list(predictions))
    return {ours: found[T5_NAMES.get(ours, ours)] for ours in get_task(name).metrics}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", [n for n, info in TASKS.items() if info.kind == "classification"])
@given(data=st.data())
def test_classification_scores_equal_t5(name, data):
    targets, predictions = columns(data.draw(THREE if get_task(name).num_labels == 3 else BINARY))
    assert metrics.score(name, predictions, targets) == pytest.approx(t5_scores(name, targets, predictions), abs=1e-9)


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-1, 3)), min_size=1, max_size=60))
def test_f1_counts_invalid_predictions_as_wrong(pairs):
    targets, predictions = columns(pairs)
    expected = t5_metrics.f1_score_with_invalid(targets, predictions)["f1"]
    assert metrics.f1(np.array(targets), np.array(predictions)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@given(GRADES)
def test_correlations_equal_t5(pairs):
    targets, predictions = columns(pairs)
    expected = t5_scores("glue_stsb_v1", targets, predictions)
    found = metrics.score("glue_stsb_v1", predictions, targets)
    if np.ptp(targets) == 0 or np.ptp(predictions) == 0:
        assert all(map(math.isnan, expected.values()))
        assert found == {"spearman": 0.0, "pearson": 0.0}
        return
    assert found["spearman"] == pytest.approx(expected["spearman"], abs=1e-9)
    # scipy warns of its own rounding where predictions are nearly constant.
    if np.ptp(predictions) > 1e-3:
        assert found["pearson"] == pytest.approx(expected["pearson"], abs=1e-9)


WORDS = st.lists(st.sampled_from(["cat", "The", "a", "dog.", "é", "20", "-"]), min_size=1, max_size=4).map(" ".join)


@given(st.lists(st.tuples(st.lists(WORDS, min_size=1, max_size=3), WORDS), min_size=1, max_size=8))
def test_squad_equals_t5(rows):
    references = [{"id": str(n), "answers": [{"text": t} for t in texts]} for n, (texts, _) in enumerate(rows)]
    predictions = {str(number): text for number, (_, text) in enumerate(rows)}
    (function,) = metric_fns(get_task("squad_v1_1_v1"))
    expected = function([texts for texts, _ in rows], [text for _, text in rows])
    found = metrics.score("squad_v1_1_v1", predictions, references)
    assert found == pytest.approx({"exact_match": expected["em"], "f1": expected["f1"]}, abs=1e-9)


def test_every_metric_of_glue_has_a_function():
    for info in TASKS.values():
        if info.kind != "span":
            assert len(metric_fns(info)) == len(info.metrics)
    assert metric_fns(get_task("glue_mrpc_v1")) == [t5_metrics.f1_score_with_invalid, t5_metrics.accuracy]
    assert metric_fns(get_task("glue_stsb_v1")) == [t5_metrics.spearman_corrcoef, t5_metrics.pearson_corrcoef]
    assert metric_fns(get_task("squad_v2_0_v1")) == []


@given(st.data())
def test_t5_average_is_that_of_t5(data):
    import pandas
    from t5.evaluation import eval_utils

    scores, row = {}, {}
    for tag, metric in eval_utils.METRIC_NAMES.items():
        task, _, name = tag.partition("/")
        if task.startswith("glue_") and name:
            ours = {theirs: own for own, theirs in T5_NAMES.items()}.get(name, name)
            value = data.draw(st.floats(-100, 100))
            scores.setdefault(task.replace("_v002", "_v1"), {})[ours] = value
            row[metric.name] = [value]
    used = {pair for group in AVERAGES["t5_8"].groups for pair in group}
    assert used == {(task, metric) for task, values in scores.items() for metric in values}
    table = eval_utils.compute_avg_glue(pandas.DataFrame(row), eval_utils.METRIC_NAMES)
    assert average("t5_8", scores) == pytest.approx(table["Average GLUE Score"][0], abs=1e-9)
