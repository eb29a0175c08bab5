"""The intervals of one run of predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks.scoring import bootstrap, outcomes

if TYPE_CHECKING:
    from tasks.catalogue import TaskInfo


def bootstrap_intervals(task: TaskInfo, predictions: Any, references: Any) -> dict[str, tuple[float, float]]:
    found = outcomes.outcomes(task, [predictions], references)
    return bootstrap.intervals(task.metrics, found["references"], found["runs"], 0)
