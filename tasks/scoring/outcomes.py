"""What runs made of every example, compactly: enough to score them again and to pair systems, without any text.

For classification and regression the outcomes are labels or values, predicted and expected; for span tasks the scores
of every question, as SQuAD's rules give them, and the number of its paragraph. NumPy only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.scoring import influence, metrics

if TYPE_CHECKING:
    from tasks.catalogue import TaskInfo


def outcomes(task: TaskInfo, predictions: Sequence[Any], references: Any) -> dict[str, Any]:
    """Collects the outcomes of the runs of a system on one split.

    Args:
        task: the task.
        predictions: of each run, as for `tasks.scoring.metrics.score`.
        references: as for `tasks.scoring.metrics.score`.

    Returns:
        Values that JSON can hold, in the order of the examples: `references` `[n]` (labels, values, or numbers of
        paragraphs) and `runs`, metric -> `[runs][n]` for span tasks (exact match 0 or 1, F1 from 0.0 to 1.0), and
        otherwise `predictions` -> `[runs][n]`.

    Raises:
        DataError: as `tasks.scoring.metrics.score`.
    """
    if task.kind == "span":
        rows = [metrics.per_example_scores(task, one, references) for one in predictions]
        runs: dict[str, Any] = {
            "exact_match": [[int(value) for value in row["exact_match"]] for row in rows],
            "f1": [[float(value) for value in row["f1"]] for row in rows],
        }
        return {"references": [int(number) for number in influence.clusters(task, references)], "runs": runs}
    number = int if task.kind == "classification" else float
    columns = [metrics.checked_columns(task, one, references) for one in predictions]
    return {
        "references": [number(value) for value in np.asarray(references)],
        "runs": {"predictions": [[number(value) for value in predicted] for _, predicted in columns]},
    }


def scores(metric: str, references: Sequence[float], runs: Mapping[str, Sequence[Sequence[float]]]) -> list[float]:
    """Computes a score of every run from outcomes, in percent.

    Args:
        metric: its name.
        references: as `outcomes` gives them.
        runs: likewise.
    """
    if metric in runs:
        return [100.0 * float(np.asarray(values, np.float64).mean()) for values in runs[metric]]
    expected = np.asarray(references)
    return [metrics.column_score(metric, expected, np.asarray(values)) for values in runs["predictions"]]


def influences(metric: str, references: Sequence[float], runs: Mapping[str, Sequence[Sequence[float]]]) -> np.ndarray:
    """Computes how much each example moves the score of each run (`tasks.scoring.influence`), in percent.

    Returns:
        `[runs, n]`, of a span task `[runs, paragraphs]`.
    """
    if metric in runs:
        values = np.asarray(runs[metric], np.float64)
        return influence.sums(100.0 * (values - values.mean(1, keepdims=True)), np.asarray(references))
    expected = np.asarray(references)
    return np.array([influence.column_influences(metric, expected, np.asarray(v)) for v in runs["predictions"]])


def middle_run(scores: Sequence[float]) -> int:
    """Returns the number of the run whose score is the (lower) median; the interval of a record is that of its run."""
    return sorted(range(len(scores)), key=lambda number: (scores[number], number))[(len(scores) - 1) // 2]
