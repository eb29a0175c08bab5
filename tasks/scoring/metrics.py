"""Scores of predictions on a task: GLUE's metrics, SQuAD's, and the averages over GLUE that papers use. NumPy only.

All scores are in percent (correlations times 100). Correlations of constant predictions are not defined; they count as
0, because a record holds finite numbers only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from tasks.catalogue import TaskInfo, get_task
from tasks.scoring.averages import AVERAGES, average, averages
from tasks.scoring.squad_metrics import (
    apply_null_threshold,
    best_null_threshold,
    evaluate_v2,
    exact_match_score,
    f1_score,
    normalize_answer,
    span_scores,
)
from tasks.system.errors import DataError, shown

__all__ = [
    "AVERAGES",
    "accuracy",
    "apply_null_threshold",
    "average",
    "averages",
    "best_null_threshold",
    "column_score",
    "evaluate_v2",
    "exact_match_score",
    "f1",
    "f1_score",
    "macro_f1",
    "matthews",
    "normalize_answer",
    "pearson",
    "per_example_scores",
    "score",
    "span_scores",
    "spearman",
]


def accuracy(references: np.ndarray, predictions: np.ndarray) -> float:
    """Computes the share of equal entries of `[n]` and `[n]`, in percent."""
    return 100.0 * float(np.mean(references == predictions))


def f1(references: np.ndarray, predictions: np.ndarray) -> float:
    """Computes F1 of label 1 over `[n]` and `[n]`, in percent; 0 where neither has a 1.

    References are 0 or 1; any other prediction counts as wrong, as in T5's `f1_score_with_invalid`.
    """
    valid = (predictions == 0) | (predictions == 1)
    predicted = np.where(valid, predictions == 1, references != 1)
    true_positives = int(np.sum((references == 1) & predicted))
    total = int(np.sum(references == 1)) + int(np.sum(predicted))
    return 100.0 * 2 * true_positives / total if total else 0.0


def macro_f1(references: np.ndarray, predictions: np.ndarray) -> float:
    """Computes the mean of the F1 of each label over `[n]` and `[n]`, in percent.

    Labels that neither references nor predictions have do not count, as in scikit-learn's `f1_score` with
    `average="macro"`.
    """
    labels, codes = np.unique(np.concatenate([references, predictions]), return_inverse=True)
    expected, predicted = codes[: len(references)], codes[len(references) :]
    correct = np.bincount(expected[expected == predicted], minlength=len(labels))
    counts = np.bincount(codes, minlength=len(labels))
    return 100.0 * float(np.mean(2.0 * correct / counts))


def matthews(references: np.ndarray, predictions: np.ndarray) -> float:
    """Computes the Matthews correlation of two columns of integer labels (any number of classes), times 100.

    Returns:
        The correlation of Gorodkin (2004), which for two classes is the usual formula; 0 where one column is constant.
    """
    labels = np.unique(np.concatenate([references, predictions]))
    true = references[:, None] == labels
    predicted = predictions[:, None] == labels
    # Python integers: the products of counts below outgrow 64 bits for large sets.
    true_counts = [int(count) for count in true.sum(0)]
    predicted_counts = [int(count) for count in predicted.sum(0)]
    correct, total = int((true & predicted).sum()), len(references)
    covariance = correct * total - sum(a * b for a, b in zip(true_counts, predicted_counts, strict=True))
    true_variance = total**2 - sum(count**2 for count in true_counts)
    predicted_variance = total**2 - sum(count**2 for count in predicted_counts)
    if not true_variance or not predicted_variance:
        return 0.0
    return 100.0 * covariance / (true_variance**0.5 * predicted_variance**0.5)


def pearson(references: np.ndarray, predictions: np.ndarray) -> float:
    """Computes the Pearson correlation of `[n]` and `[n]`, times 100; 0 where one of them is constant."""
    first = np.asarray(references, np.float64)
    second = np.asarray(predictions, np.float64)
    if len(first) < 2 or np.all(first == first[0]) or np.all(second == second[0]):
        return 0.0
    first = _unit(first)
    second = _unit(second)
    return 100.0 * float(np.clip(first @ second, -1.0, 1.0))


def _unit(values: np.ndarray) -> np.ndarray:
    """Centres a vector and scales it to length 1; by its maximum first, so that no square vanishes or overflows."""
    centred = values - values.mean()
    centred = centred / np.abs(centred).max()
    return centred / np.linalg.norm(centred)


def spearman(references: np.ndarray, predictions: np.ndarray) -> float:
    """Computes the Spearman rank correlation of `[n]` and `[n]`, times 100; ties share their mean rank."""
    return pearson(_ranks(np.asarray(references)), _ranks(np.asarray(predictions)))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks values from 1; equal values get the mean of their ranks."""
    # With `return_index` numpy sorts stably, by the same instructions on every processor.
    _, _, inverse, counts = np.unique(values, return_index=True, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def _entry(task: str | TaskInfo) -> TaskInfo:
    """Returns the entry of a task, looked up where its name is given."""
    return get_task(task) if isinstance(task, str) else task


def per_example_scores(task: str | TaskInfo, predictions: Any, references: Any) -> dict[str, np.ndarray]:
    """Scores every example alone, where the metric allows that.

    Args:
        task: its name in the catalogue, or its entry, which an own task has alone.
        predictions: as for `score`.
        references: as for `score`.

    Returns:
        Classification: `accuracy`; span tasks: `exact_match` and `f1`; values 0.0 to 1.0, `[n]`. Regression: nothing.
    """
    info = _entry(task)
    if info.kind == "span":
        answers = _predicted_answers(info, predictions, references)
        rows = [
            span_scores(answer, [entry["text"] for entry in example["answers"]], info.has_no_answer_option)
            if answer is not None
            else {"exact_match": 0.0, "f1": 0.0}
            for answer, example in zip(answers, references, strict=True)
        ]
        return {name: np.array([row[name] for row in rows], np.float64) for name in ("exact_match", "f1")}
    expected, predicted = checked_columns(info, predictions, references)
    return {} if info.kind == "regression" else {"accuracy": (expected == predicted).astype(np.float64)}


def score(task: str | TaskInfo, predictions: Any, references: Any) -> dict[str, float]:
    """Scores predictions with the metrics of a task.

    Args:
        task: its name in the catalogue, or its entry, which an own task has alone.
        predictions: `[n]` integer labels or float scores; for span tasks a mapping example id -> answer text.
        references: `[n]` labels or scores; for span tasks the examples (`id`, `answers`).

    Returns:
        Metric -> percent, in the order of the catalogue, the primary metric first.

    Raises:
        DataError: if the numbers of predictions and references differ, there are none, references are missing (label
            -1) or a prediction is not finite.
    """
    info = _entry(task)
    if info.kind == "span":
        rows = per_example_scores(info, predictions, references)
        return {name: 100.0 * float(rows[name].mean()) for name in info.metrics}
    expected, predicted = checked_columns(info, predictions, references)
    return {name: _FUNCTIONS[name](expected, predicted) for name in info.metrics}


_FUNCTIONS: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = MappingProxyType(
    {
        "accuracy": accuracy,
        "f1": f1,
        "macro_f1": macro_f1,
        "matthews": matthews,
        "pearson": pearson,
        "spearman": spearman,
    }
)


def column_score(metric: str, references: np.ndarray, predictions: np.ndarray) -> float:
    """Computes a metric of classification or regression from its columns `[n]` and `[n]`, in percent.

    Raises:
        DataError: there is no such metric.
    """
    if metric not in _FUNCTIONS:
        raise DataError(f"metric {shown(metric)!r}: expected one of {', '.join(_FUNCTIONS)}")
    return _FUNCTIONS[metric](references, predictions)


def checked_columns(info: TaskInfo, predictions: Any, references: Any) -> tuple[np.ndarray, np.ndarray]:
    """Checks the two columns of a classification or regression task."""
    expected, predicted = np.asarray(references), np.asarray(predictions)
    if expected.ndim != 1 or expected.shape != predicted.shape or not len(expected):
        raise DataError(
            f"{info.name}: predictions of shape {predicted.shape} for references of shape {expected.shape}; two equal"
            " shapes [n] with n >= 1 are expected"
        )
    # A label of an own regression may be any number, and its rows are labelled wherever they are scored.
    if (info.own is None or info.kind == "classification") and np.any(expected < 0):
        raise DataError(
            f"{info.name}: reference {int(np.argmax(expected < 0))} has no label (-1); this split is unlabelled"
        )
    if not np.all(np.isfinite(predicted)):
        raise DataError(f"{info.name}: prediction {int(np.argmin(np.isfinite(predicted)))} is not a finite number")
    return expected, predicted


def _predicted_answers(
    info: TaskInfo, predictions: Mapping[str, str], references: Sequence[Mapping[str, Any]]
) -> list[str | None]:
    """Brings predicted answers into the order of the references.

    A missing one counts as empty where that is allowed; otherwise it is None, which scores 0.
    """
    if not references:
        raise DataError(f"{info.name}: no references; at least one example is expected")
    if unknown := sorted(set(predictions) - {example["id"] for example in references}):
        raise DataError(f"{info.name}: prediction for '{unknown[0]}', which is no example of the references")
    if not info.has_no_answer_option:
        without = next((example["id"] for example in references if not example["answers"]), None)
        if without is not None:
            raise DataError(f"{info.name}: the question '{shown(without)}' has no answer; at least one is expected")
    missing = "" if info.has_no_answer_option else None
    return [predictions.get(example["id"], missing) for example in references]
