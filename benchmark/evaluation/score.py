"""Predictions from raw outputs, and scores with intervals from predictions; no model is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from benchmark.config import fingerprint
from benchmark.records.record import MetricScore, TaskScore
from tasks.arrays import token_arrays
from tasks.encoding import spans
from tasks.scoring import metrics

if TYPE_CHECKING:
    from tasks.catalogue import TaskInfo

# Labels `[n]`, or the examples of a span task.
References: TypeAlias = Any
# Label numbers or values in the order of the rows, or answer texts by example id.
Predictions: TypeAlias = Any

BOOTSTRAP_DRAWS = 1000
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


def bootstrap_intervals(
    task: TaskInfo, predictions: Predictions, references: References
) -> dict[str, tuple[float, float]]:
    """Computes the 95 % percentile interval of every metric of the task, by bootstrap over examples.

    Questions of one paragraph share their context and are drawn together.

    Returns:
        Metric name -> lower and upper end, in percent.
    """
    rng = np.random.default_rng(0)
    if task.kind == "span":
        values = metrics.per_example_scores(task, predictions, references)
        _, groups = np.unique([example["context"] for example in references], return_inverse=True)
        sizes = np.bincount(groups)
        counts = rng.multinomial(len(sizes), np.full(len(sizes), 1.0 / len(sizes)), BOOTSTRAP_DRAWS)
        draws = {m: 100.0 * (counts @ np.bincount(groups, values[m])) / (counts @ sizes) for m in task.metrics}
    else:
        predicted, expected = np.asarray(predictions), np.asarray(references)
        scores = []
        for _ in range(BOOTSTRAP_DRAWS):
            chosen = rng.integers(len(expected), size=len(expected))
            scores.append(metrics.score(task, predicted[chosen], expected[chosen]))
        draws = {m: np.asarray([s[m] for s in scores]) for m in task.metrics}
    return {m: (float(np.quantile(v, 0.025)), float(np.quantile(v, 0.975))) for m, v in draws.items()}


def task_score(
    task: TaskInfo,
    split: str,
    seeds: Sequence[int],
    predictions: Sequence[Predictions],
    references: References,
    files: Sequence[str],
    details: Sequence[Mapping[str, float]] = (),
) -> TaskScore:
    """Scores the runs of all seeds on one split.

    Args:
        task: the task.
        split: name of the split.
        seeds: fine-tuning seeds.
        predictions: one set of predictions for each seed.
        references: as `load_references` gives them.
        files: where the predictions lie, relative to the run's folder.
        details: `details` of `to_result` for each seed, where the task has them.

    Returns:
        Every metric: median over seeds, all seeds' values, and the interval of the run that is the (lower) median, with
        the details of that run.
    """
    scores = [metrics.score(task, p, references) for p in predictions]
    primary = [s[task.primary_metric] for s in scores]
    median_run = sorted(range(len(primary)), key=lambda i: (primary[i], i))[(len(primary) - 1) // 2]
    intervals = bootstrap_intervals(task, predictions[median_run], references)
    return TaskScore(
        task=task.name,
        split=split,
        primary_metric=task.primary_metric,
        metrics={
            m: MetricScore(
                value=float(np.median([s[m] for s in scores])),
                per_seed=[float(s[m]) for s in scores],
                interval=intervals[m],
            )
            for m in task.metrics
        },
        num_examples=len(references),
        seeds=list(seeds),
        predictions=list(files),
        predictions_sha256=[fingerprint(p) for p in predictions],
        details=dict(details[median_run]) if details else {},
    )
