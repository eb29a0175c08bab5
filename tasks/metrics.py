"""Scores: GLUE metrics, SQuAD exact match and F1, and the averages over GLUE that papers use. NumPy only.

All scores are in percent (correlations times 100). Correlations of constant predictions are not defined; they count as
0, because a record holds finite numbers only.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tasks.averages import AVERAGES, average, averages
from tasks.catalogue import get_task
from tasks.errors import DataError

__all__ = [
    "AVERAGES",
    "accuracy",
    "average",
    "averages",
    "best_null_threshold",
    "exact_match_score",
    "f1",
    "f1_score",
    "matthews",
    "normalize_answer",
    "pearson",
    "per_example_scores",
    "score",
    "span_scores",
    "spearman",
]


def accuracy(references: np.ndarray, predictions: np.ndarray) -> float:
    """Share of equal entries of `[n]` and `[n]`, in percent."""
    return 100.0 * float(np.mean(references == predictions))


def f1(references: np.ndarray, predictions: np.ndarray) -> float:
    """F1 of label 1 over `[n]` and `[n]`, in percent; 0 where neither has a 1."""
    true_positives = int(np.sum((references == 1) & (predictions == 1)))
    total = int(np.sum(references == 1)) + int(np.sum(predictions == 1))
    return 100.0 * 2 * true_positives / total if total else 0.0


def matthews(references: np.ndarray, predictions: np.ndarray) -> float:
    """Matthews correlation of two columns of integer labels (any number of classes), times 100.

    Args:
      references: int `[n]`.
      predictions: int `[n]`.

    Returns:
      the correlation of Gorodkin (2004), which for two classes is the usual formula; 0 where one column is constant.
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
    """Pearson correlation of `[n]` and `[n]`, times 100; 0 where one of them is constant."""
    first = np.asarray(references, np.float64)
    second = np.asarray(predictions, np.float64)
    if len(first) < 2 or np.all(first == first[0]) or np.all(second == second[0]):
        return 0.0
    first = _unit(first)
    second = _unit(second)
    return 100.0 * float(np.clip(first @ second, -1.0, 1.0))


def _unit(values: np.ndarray) -> np.ndarray:
    """Centres a vector and scales it to length 1; by its maximum first, lest squares vanish or overflow."""
    centred = values - values.mean()
    centred = centred / np.abs(centred).max()
    return centred / np.linalg.norm(centred)


def spearman(references: np.ndarray, predictions: np.ndarray) -> float:
    """Spearman rank correlation of `[n]` and `[n]`, times 100; ties share their mean rank."""
    return pearson(_ranks(np.asarray(references)), _ranks(np.asarray(predictions)))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values get the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """Normalises an answer by the rules of SQuAD's evaluation script (v1.1 and v2.0 share them).

    Args:
      text: an answer.

    Returns:
      lower case, without punctuation (ASCII) and the words a, an and the, single spaces.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match_score(prediction: str, reference: str) -> float:
    """1.0 if the normalised answers are equal, else 0.0."""
    return float(normalize_answer(prediction) == normalize_answer(reference))


def f1_score(prediction: str, reference: str) -> float:
    """F1 of the multisets of normalised words, from 0.0 to 1.0; two empty answers are equal (the rule of v2.0)."""
    predicted, expected = normalize_answer(prediction).split(), normalize_answer(reference).split()
    if not predicted or not expected:
        return float(predicted == expected)
    shared = sum((Counter(predicted) & Counter(expected)).values())
    return 2 * shared / (len(predicted) + len(expected))


def span_scores(prediction: str, answers: Sequence[str], has_no_answer_option: bool) -> dict[str, float]:
    """Scores one answer against the references.

    Args:
      prediction: the predicted answer, "" for none.
      answers: the reference answers; none where the question has no answer.
      has_no_answer_option: True for the rules of v2.0 (references that are empty after normalisation are dropped, and
        no reference means that the empty answer is right), False for those of v1.1 (an empty answer is just wrong).

    Returns:
      `exact_match` and `f1`, from 0.0 to 1.0, each the best over the references.
    """
    if has_no_answer_option:
        answers = [answer for answer in answers if normalize_answer(answer)] or [""]
    elif not normalize_answer(prediction):
        # The script of v1.1 gives F1 0 without common words, even to equal empty strings.
        return {
            "exact_match": max((exact_match_score(prediction, answer) for answer in answers), default=0.0),
            "f1": 0.0,
        }
    return {
        "exact_match": max((exact_match_score(prediction, answer) for answer in answers), default=0.0),
        "f1": max((f1_score(prediction, answer) for answer in answers), default=0.0),
    }


def per_example_scores(task_name: str, predictions: Any, references: Any) -> dict[str, np.ndarray]:
    """Scores every example by itself, where the metric allows that; paired tests need it.

    Args:
      task_name: a name in the catalogue.
      predictions: as for `score`.
      references: as for `score`.

    Returns:
      classification: `accuracy`; span tasks: `exact_match` and `f1`; values 0.0 to 1.0, `[n]`. Regression: nothing.
    """
    info = get_task(task_name)
    if info.kind == "span":
        answers = _predicted_answers(task_name, predictions, references)
        rows = [
            span_scores(answer, [entry["text"] for entry in example["answers"]], task_name.startswith("squad_v2"))
            for answer, example in zip(answers, references, strict=True)
        ]
        return {name: np.array([row[name] for row in rows], np.float64) for name in ("exact_match", "f1")}
    expected, predicted = _columns(task_name, predictions, references)
    return {} if info.kind == "regression" else {"accuracy": (expected == predicted).astype(np.float64)}


def score(task_name: str, predictions: Any, references: Any) -> dict[str, float]:
    """Scores predictions with the metrics of a task.

    Args:
      task_name: a name in the catalogue.
      predictions: `[n]` integer labels or float scores; for span tasks a mapping example id -> answer text.
      references: `[n]` labels or scores; for span tasks the examples (`id`, `answers`).

    Returns:
      metric -> percent, in the order of the catalogue, the primary metric first.

    Raises:
      DataError: if the numbers of predictions and references differ, there are none, references are missing (label -1)
        or a prediction is not finite.
    """
    info = get_task(task_name)
    if info.kind == "span":
        rows = per_example_scores(task_name, predictions, references)
        return {name: 100.0 * float(rows[name].mean()) for name in info.metrics}
    expected, predicted = _columns(task_name, predictions, references)
    functions = {"accuracy": accuracy, "f1": f1, "matthews": matthews, "pearson": pearson, "spearman": spearman}
    return {name: functions[name](expected, predicted) for name in info.metrics}


def _columns(task_name: str, predictions: Any, references: Any) -> tuple[np.ndarray, np.ndarray]:
    """Checks the two columns of a classification or regression task."""
    expected, predicted = np.asarray(references), np.asarray(predictions)
    if expected.ndim != 1 or expected.shape != predicted.shape or not len(expected):
        raise DataError(
            f"{task_name}: predictions of shape {predicted.shape} for references of shape {expected.shape}; two equal"
            " shapes [n] with n >= 1 are expected"
        )
    if np.any(expected < 0):
        raise DataError(
            f"{task_name}: reference {int(np.argmax(expected < 0))} has no label (-1); this split is unlabelled"
        )
    if not np.all(np.isfinite(predicted)):
        raise DataError(f"{task_name}: prediction {int(np.argmin(np.isfinite(predicted)))} is not a finite number")
    return expected, predicted


def _predicted_answers(
    task_name: str, predictions: Mapping[str, str], references: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Brings predicted answers into the order of the references; an answer that is missing counts as empty."""
    if not references:
        raise DataError(f"{task_name}: no references; at least one example is expected")
    if unknown := sorted(set(predictions) - {example["id"] for example in references}):
        raise DataError(f"{task_name}: prediction for '{unknown[0]}', which is no example of the references")
    return [predictions.get(example["id"], "") for example in references]


def best_null_threshold(
    answers: Mapping[str, Mapping[str, Any]], references: Sequence[Mapping[str, Any]], metric: str = "f1"
) -> tuple[float, float]:
    """Finds the no-answer threshold that scores best, as SQuAD v2.0's script does.

    Args:
      answers: from `tasks.spans.decode_answers` without a threshold.
      references: the examples (`id`, `answers`).
      metric: `f1` or `exact_match`.

    Returns:
      the threshold for `null_score - score`, and the score in percent that it gives.
    """
    differences = np.empty(len(references))
    gains = np.empty(len(references))
    base = 0.0
    for position, example in enumerate(references):
        answer = answers[example["id"]]
        texts = [entry["text"] for entry in example["answers"]]
        empty = span_scores("", texts, True)[metric]
        base += empty
        gains[position] = span_scores(answer["text"], texts, True)[metric] - empty
        differences[position] = answer["null_score"] - answer["score"]
    # Starting from "all empty", answers are let in from the most to the least certain; equal ones come together.
    order = np.argsort(differences, kind="stable")
    totals = base + np.concatenate([[0.0], np.cumsum(gains[order])])
    ordered = differences[order]
    cut = np.concatenate([[True], np.append(ordered[1:] != ordered[:-1], True)]) if len(ordered) else np.array([True])
    best = int(np.argmax(np.where(cut, totals, -np.inf)))
    threshold = float(ordered[best - 1]) if best else float(np.nextafter(ordered[0], -np.inf))
    return threshold, 100.0 * float(totals[best]) / len(references)
