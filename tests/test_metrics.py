"""Metrics against scikit-learn and scipy, SQuAD's rules, and the averages of the literature."""

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import metrics
from tasks.errors import DataError

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
    assert metrics.f1(references, predictions) == pytest.approx(
        100 * sklearn.metrics.f1_score(references == 1, predictions == 1, zero_division=0), abs=1e-9
    )
    assert metrics.matthews(references, predictions) == pytest.approx(
        100 * sklearn.metrics.matthews_corrcoef(references, predictions), abs=1e-9
    )


@settings(deadline=None)
@given(NUMBERS)
def test_correlations_equal_scipy(pairs):
    references, predictions = columns(pairs)
    constant = np.ptp(references) == 0 or np.ptp(predictions) == 0
    if constant:
        assert metrics.pearson(references, predictions) == metrics.spearman(references, predictions) == 0.0
        return
    expected = scipy.stats.spearmanr(references, predictions).statistic
    assert metrics.spearman(references, predictions) == pytest.approx(100 * expected, abs=1e-9)
    # Where the spread vanishes beside the mean, both ways of computing lose digits.
    if min(np.ptp(column) / np.abs(column).max() for column in (references, predictions)) > 1e-3:
        expected = scipy.stats.pearsonr(references, predictions).statistic
        assert metrics.pearson(references, predictions) == pytest.approx(100 * expected, abs=1e-8)


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
    ],
)
def test_unusable_input_is_refused(task, predictions, references, message):
    with pytest.raises(DataError, match=message):
        metrics.score(task, predictions, references)


def test_per_example_scores_average_to_the_score():
    predictions, references = [1, 0, 1], [1, 1, 1]
    values = metrics.per_example_scores("glue_sst2_v1", predictions, references)["accuracy"]
    assert values.tolist() == [1.0, 0.0, 1.0]
    assert 100 * values.mean() == pytest.approx(metrics.score("glue_sst2_v1", predictions, references)["accuracy"])
    assert metrics.per_example_scores("glue_stsb_v1", [1.0], [2.0]) == {}


@pytest.mark.parametrize(
    ("text", "normalized"),
    [("The  Cat!", "cat"), ("an a-b the", "ab"), ("U.S. Army", "us army"), ("", ""), ("theory", "theory")],
)
def test_normalisation(text, normalized):
    assert metrics.normalize_answer(text) == normalized


@pytest.mark.parametrize(
    ("prediction", "answers", "v2", "exact", "f1"),
    [
        ("the cat", ["Cat"], False, 1.0, 1.0),
        ("black cat", ["cat", "black dog sat"], False, 0.0, 2 / 3),
        ("cat cat", ["cat"], False, 0.0, 2 / 3),
        ("", ["cat"], False, 0.0, 0.0),
        ("", ["the"], False, 1.0, 0.0),
        ("", [], True, 1.0, 1.0),
        ("cat", [], True, 0.0, 0.0),
        ("", ["cat"], True, 0.0, 0.0),
        ("cat", ["the", "cat"], True, 1.0, 1.0),
    ],
)
def test_span_rules(prediction, answers, v2, exact, f1):
    assert metrics.span_scores(prediction, answers, v2) == pytest.approx({"exact_match": exact, "f1": f1})


def example(name, *texts):
    return {"id": name, "answers": [{"text": text, "answer_start": 0} for text in texts]}


def test_squad_score_counts_unanswered_questions():
    references = [example("a", "cat"), example("b", "dog")]
    assert metrics.score("squad_v1_1_v1", {"a": "cat"}, references) == {"f1": 50.0, "exact_match": 50.0}
    assert metrics.score("squad_v2_0_v1", {"b": "dog"}, [example("a"), example("b", "dog")])["f1"] == 100.0


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_best_null_threshold_beats_every_other(rows):
    references = [example(str(i), *(["x"] if answerable else [])) for i, (_, answerable, _) in enumerate(rows)]
    answers = {
        str(i): {"text": "x" if right else "y", "score": 0.0, "null_score": float(difference)}
        for i, (difference, _, right) in enumerate(rows)
    }

    def score_at(threshold):
        chosen = {key: "" if value["null_score"] > threshold else value["text"] for key, value in answers.items()}
        return metrics.score("squad_v2_0_v1", chosen, references)["f1"]

    threshold, best = metrics.best_null_threshold(answers, references)
    assert score_at(threshold) == pytest.approx(best)
    assert best == pytest.approx(max(score_at(candidate) for candidate in np.arange(-4, 5)))


def glue(cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli=None):
    """Scores as papers print them; `mrpc`, `stsb`, `qqp` and `mnli` may be pairs (F1 or Pearson or matched first)."""

    def pair(value):
        return value if isinstance(value, tuple) else (value, value)

    scores = {
        "glue_cola_v1": {"matthews": cola},
        "glue_sst2_v1": {"accuracy": sst2},
        "glue_mrpc_v1": dict(zip(("f1", "accuracy"), pair(mrpc), strict=True)),
        "glue_stsb_v1": dict(zip(("pearson", "spearman"), pair(stsb), strict=True)),
        "glue_qqp_v1": dict(zip(("f1", "accuracy"), pair(qqp), strict=True)),
        "glue_mnli_matched_v1": {"accuracy": pair(mnli)[0]},
        "glue_mnli_mismatched_v1": {"accuracy": pair(mnli)[1]},
        "glue_qnli_v1": {"accuracy": qnli},
        "glue_rte_v1": {"accuracy": rte},
    }
    return scores if wnli is None else {**scores, "glue_wnli_v1": {"accuracy": wnli}}


BERT_BASE = glue(52.1, 93.5, (88.9, 84.8), (87.1, 85.8), (71.2, 89.2), (84.6, 83.4), 90.5, 66.4, 65.1)
# Published rows (GLUE test server, or development sets for the last three) and the averages that belong to them.
PUBLISHED = [
    ("official9", BERT_BASE, 78.34),
    ("col9", BERT_BASE, 79.60),
    ("col9", glue(60.5, 94.9, 89.3, 86.5, 72.1, (86.7, 85.9), 92.7, 70.1), 82.08),
    ("col9", glue(51.1, 93.1, 87.3, 83.7, 71.6, (84.6, 83.2), 90.4, 70.0), 79.44),
    ("col9", glue(44.1, 92.6, 86.4, 80.4, 71.3, (82.5, 81.8), 87.7, 66.6), 77.04),
    ("col9", glue(49.0, 92.5, 86.9, 81.3, 70.1, (82.6, 81.3), 88.9, 58.4), 76.78),
    ("col9", glue(50.5, 92.8, 88.8, 84.4, 70.2, (83.3, 82.6), 90.6, 66.2), 78.82),
    ("col9", glue(51.1, 92.6, 88.8, 84.8, 70.5, (84.3, 83.4), 91.6, 70.4), 79.72),
    ("col9", glue(46.7, 91.7, 87.9, 80.1, 68.9, (81.5, 81.6), 89.5, 65.1), 77.00),
    ("task8_m", glue(48.4, 92.9, 84.5, 86.1, 88.9, 83.5, 90.9, 73.7), 81.11),
    ("task8_m", glue(58.1, 92.1, 88.5, 89.4, 91.0, 84.1, 91.3, 79.2), 84.21),
    ("dev9_wnli", glue(56.3, 92.7, 88.6, 89.0, 89.6, 84.7, 91.8, 69.3, 53.5), 79.50),
    ("dev9_wnli", glue(51.3, 91.3, 87.5, 86.9, 88.5, 82.2, 89.2, 59.9, 56.3), 77.01),
]


@pytest.mark.parametrize(("average_id", "scores", "published"), PUBLISHED)
def test_published_averages(average_id, scores, published):
    assert round(metrics.average(average_id, scores), 2) == pytest.approx(published, abs=0.006)


def test_t5_average_is_the_official_one_without_wnli():
    official, t5 = metrics.average("official9", BERT_BASE), metrics.average("t5_8", BERT_BASE)
    assert t5 == pytest.approx((9 * official - 65.1) / 8)


def test_incomplete_scores_have_no_average():
    scores = {task: values for task, values in BERT_BASE.items() if task != "glue_wnli_v1"}
    with pytest.raises(DataError, match="needs glue_wnli_v1/accuracy"):
        metrics.average("official9", scores)
    assert set(metrics.averages(scores)) == {"col9", "task8_m", "t5_8"}
    assert set(metrics.averages(BERT_BASE)) == set(metrics.AVERAGES)
    with pytest.raises(DataError, match="did you mean official9"):
        metrics.average("oficial9", scores)
