"""SQuAD's scores: normalisation, exact match and F1 of v1.1 and v2.0, and the no-answer thresholds of v2.0.

The rules are those of the official scripts `evaluate-v1.1.py` and `evaluate-v2.0.py` (Rajpurkar et al. 2016, arXiv
1606.05250, and 2018, arXiv 1806.03822; https://rajpurkar.github.io/SQuAD-explorer/).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """Normalises an answer by the rules of SQuAD's evaluation script (v1.1 and v2.0 share them).

    Returns:
        Lower case, without punctuation (ASCII) and the words a, an and the, single spaces.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match_score(prediction: str, reference: str) -> float:
    """Returns 1.0 if the normalised answers are equal, else 0.0."""
    return float(normalize_answer(prediction) == normalize_answer(reference))


def f1_score(prediction: str, reference: str) -> float:
    """Computes F1 of the multisets of normalised words, 0.0 to 1.0; two empty answers are equal (rule of v2.0)."""
    predicted, expected = normalize_answer(prediction).split(), normalize_answer(reference).split()
    if not predicted or not expected:
        return float(predicted == expected)
    shared = sum((Counter(predicted) & Counter(expected)).values())
    if not shared:
        return 0.0
    # In the order of the official script: its rounding decides between thresholds with equal sums of F1.
    precision, recall = shared / len(predicted), shared / len(expected)
    return 2 * precision * recall / (precision + recall)


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


def apply_null_threshold(answers: Mapping[str, Mapping[str, Any]], threshold: float) -> dict[str, str]:
    """Chooses between the best answer and none, as BERT does for v2.0.

    Args:
        answers: example id -> `text`, `score`, `null_score`, from `tasks.encoding.spans.decode_answers` without a
            threshold or with an infinite one.
        threshold: the empty answer is given where `null_score - score` exceeds it; BERT's default is 0.

    Returns:
        Example id -> text.
    """
    return {
        name: "" if answer["null_score"] - answer["score"] > threshold else answer["text"]
        for name, answer in answers.items()
    }


def best_null_threshold(
    answers: Mapping[str, Mapping[str, Any]], references: Sequence[Mapping[str, Any]], metric: str = "f1"
) -> tuple[float, float]:
    """Finds the no-answer threshold that scores best, as SQuAD v2.0's script does.

    Args:
        answers: as for `apply_null_threshold`.
        references: the examples (`id`, `answers`).
        metric: `f1` or `exact_match`.

    Returns:
        The threshold for `null_score - score`, and the score in percent that it gives. As in the script, the threshold
        is 0 where no answer at all scores best, and some answers with equal differences may be let in and others not.
    """
    values = [
        span_scores(answers[example["id"]]["text"], [entry["text"] for entry in example["answers"]], True)[metric]
        for example in references
    ]
    return _best_threshold(answers, references, np.array(values))


def evaluate_v2(
    answers: Mapping[str, Mapping[str, Any]], references: Sequence[Mapping[str, Any]], threshold: float = 0.0
) -> dict[str, float]:
    """Computes every number of SQuAD v2.0's script, under its names.

    Args:
        answers: as for `apply_null_threshold`, one for every example.
        references: the examples (`id`, `answers`), at least one.
        threshold: as for `apply_null_threshold`.

    Returns:
        `exact`, `f1` and `total` at the threshold; the same with `HasAns_` over the questions that have an answer and
        with `NoAns_` over the others, where there are any; `best_exact`, `best_exact_thresh`, `best_f1` and
        `best_f1_thresh` over all thresholds. Scores in percent.
    """
    chosen = apply_null_threshold(answers, threshold)
    answerable = np.array([bool(example["answers"]) for example in references])
    columns: dict[str, list[tuple[float, float]]] = {"exact": [], "f1": []}
    for example in references:
        texts = [entry["text"] for entry in example["answers"]]
        best = span_scores(answers[example["id"]]["text"], texts, True)
        given = best if chosen[example["id"]] else span_scores("", texts, True)
        columns["exact"].append((given["exact_match"], best["exact_match"]))
        columns["f1"].append((given["f1"], best["f1"]))
    scores = {name: np.array(pairs) for name, pairs in columns.items()}
    everything = np.ones(len(references), bool)
    result: dict[str, float] = {}
    for prefix, part in (("", everything), ("HasAns_", answerable), ("NoAns_", ~answerable)):
        if part.any():
            result |= {f"{prefix}{name}": 100.0 * float(scores[name][part, 0].mean()) for name in scores}
            result[f"{prefix}total"] = float(part.sum())
    for name in scores:
        found, best_score = _best_threshold(answers, references, scores[name][:, 1])
        result |= {f"best_{name}": best_score, f"best_{name}_thresh": found}
    return result


def _best_threshold(
    answers: Mapping[str, Mapping[str, Any]], references: Sequence[Mapping[str, Any]], scores: np.ndarray
) -> tuple[float, float]:
    """Finds the best threshold where `scores` `[n]` holds the score of each best answer, 0.0 to 1.0."""
    differences = np.empty(len(references))
    gains = np.empty(len(references))
    for position, (example, score) in enumerate(zip(references, scores, strict=True)):
        answer = answers[example["id"]]
        differences[position] = answer["null_score"] - answer["score"]
        # Any answer at all is wrong where there is none, even one that is empty after normalisation. An answer without
        # a score is let in by no finite threshold.
        gain = score if example["answers"] else -float(bool(answer["text"]))
        gains[position] = gain if np.isfinite(differences[position]) else 0.0
    # Starting from "all empty", answers are let in from the most to the least certain.
    order = np.argsort(differences, kind="stable")
    empty = sum(not example["answers"] for example in references)
    totals = np.cumsum(np.concatenate([[float(empty)], gains[order]]))
    best = int(totals.argmax())
    return float(differences[order[best - 1]]) if best else 0.0, 100.0 * float(totals[best]) / len(references)
