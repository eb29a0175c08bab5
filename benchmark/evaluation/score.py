"""Predictions from raw outputs, and scores with intervals from predictions; no model is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from benchmark.config import fingerprint
from benchmark.records.outcomes import TaskOutcomes
from benchmark.records.task_score import MetricScore, TaskScore
from tasks.arrays import token_arrays
from tasks.encoding import spans
from tasks.scoring import bootstrap, metrics, outcomes

if TYPE_CHECKING:
    from tasks.catalogue import TaskInfo

# Labels `[n]`, or the examples of a span task.
References: TypeAlias = Any
# Label numbers or values in the order of the rows, or answer texts by example id.
Predictions: TypeAlias = Any

# BERT's default for SQuAD v2.0: no answer where the null score is higher than that of the best answer.
NULL_THRESHOLD = 0.0


def load_references(task: TaskInfo, rows: token_arrays.TokenArrays) -> References:
    """Loads the references that `tasks.scoring.metrics` compares with."""
    if task.kind == "span":
        return token_arrays.load_examples(rows.directory)
    return np.asarray(rows.features["label"])


def to_result(
    task: TaskInfo,
    outputs: np.ndarray,
    rows: token_arrays.TokenArrays,
    references: References,
    with_nbest: bool = False,
) -> dict[str, Any]:
    """Turns a model's outputs into predictions and the other content of a prediction file.

    Args:
        task: the task.
        outputs: as `benchmark.evaluation.predict.predict` gives them.
        rows: the rows that were predicted.
        references: as `load_references` gives them.
        with_nbest: keeps the other good answers of span tasks too.

    Returns:
        Values that JSON can hold. `predictions`: for classification label numbers; for regression values within the
        task's range; for span tasks answer text by example id. Where questions may have no answer, the predictions are
        those at `NULL_THRESHOLD`, and `details` has the numbers of SQuAD's script
        (`tasks.scoring.squad_metrics.evaluate_v2`) and `null_odds` the null score minus that of the best answer, by
        example id (null where there was no answer to choose). `nbest`, if asked for, is that of
        `tasks.encoding.spans.decode_answers` by example id.
    """
    if task.kind == "classification":
        return {"predictions": [int(label) for label in outputs.argmax(axis=1)]}
    if task.kind == "regression":
        low, high = task.label_range or (-np.inf, np.inf)
        return {"predictions": [float(value) for value in np.clip(outputs.astype(np.float64), low, high)]}
    length = outputs.shape[1]
    features = {
        "example_index": np.asarray(rows.features["example_index"]),
        "offsets": np.asarray(rows.features["offsets"])[:, :length],
        "is_max_context": np.asarray(rows.features["is_max_context"])[:, :length],
    }
    optional = task.has_no_answer_option
    answers = spans.decode_answers(
        outputs,
        features,
        references,
        # The best answer is wanted even where none is better: other thresholds are tried with it.
        null_threshold=np.inf if optional else None,
        with_nbest=with_nbest,
    )
    result: dict[str, Any] = {"predictions": {name: answer["text"] for name, answer in answers.items()}}
    if optional:
        result["predictions"] = metrics.apply_null_threshold(answers, NULL_THRESHOLD)
        result["details"] = metrics.evaluate_v2(answers, references, NULL_THRESHOLD)
        # A question without any possible answer has no finite difference.
        odds = {name: answer["null_score"] - answer["score"] for name, answer in answers.items()}
        result["null_odds"] = {name: value if np.isfinite(value) else None for name, value in odds.items()}
    if with_nbest:
        result["nbest"] = {name: answer["nbest"] for name, answer in answers.items()}
    return result


def task_score(
    task: TaskInfo,
    split: str,
    seeds: Sequence[int],
    predictions: Sequence[Predictions],
    references: References,
    files: Sequence[str],
    details: Sequence[Mapping[str, float]] = (),
    distill_seeds: Sequence[int] = (),
) -> tuple[TaskScore, TaskOutcomes]:
    """Scores all runs on one split.

    Args:
        task: the task.
        split: name of the split.
        seeds: fine-tuning seed of each run.
        predictions: one set of predictions for each run.
        references: as `load_references` gives them.
        files: where the predictions lie, relative to the run's folder.
        details: `details` of `to_result` for each run, where the task has them.
        distill_seeds: distillation seed of each run, for a student.

    Returns:
        The score: of every metric the median over runs, the values of all, and the interval of the run that is the
        (lower) median, with the details of that run. And what the runs made of every example.
    """
    found = TaskOutcomes(task=task.name, split=split, **outcomes.outcomes(task, predictions, references))
    scores = {m: outcomes.scores(m, found.references, found.runs) for m in task.metrics}
    middle = outcomes.middle_run(scores[task.primary_metric])
    intervals = bootstrap.intervals(task.metrics, found.references, found.runs, middle)
    scored = TaskScore(
        task=task.name,
        split=split,
        primary_metric=task.primary_metric,
        metrics={
            m: MetricScore(value=float(np.median(scores[m])), per_seed=scores[m], interval=intervals[m])
            for m in task.metrics
        },
        num_examples=len(references),
        seeds=list(seeds),
        distill_seeds=list(distill_seeds),
        predictions=list(files),
        predictions_sha256=[fingerprint(p) for p in predictions],
        outcomes_sha256=found.digest,
        details=dict(details[middle]) if details else {},
    )
    return scored, found
