"""Time of the statistics of a board: 200 systems with three runs each, on all development sets of GLUE and SQuAD.

`make bench` runs this; `make test` skips it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmark.records.outcomes import TaskOutcomes
from benchmark.records.task_score import MetricScore, TaskScore
from benchmark.statistics.pairs import Entry, compare
from leaderboard.pairing import covariances, paired_examples
from tasks.catalogue import TASKS, TaskInfo
from tasks.scoring import bootstrap

SYSTEMS, RUNS = 200, 3
PARAGRAPHS = 2067
SCORED = [task for task in TASKS.values() if "validation" in task.split_sizes]


def runs_of(task: TaskInfo, references: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    shape = (RUNS, len(references))
    if task.kind == "span":
        exact = (rng.random(shape) < 0.8).astype(int)
        return {"exact_match": exact, "f1": np.maximum(exact, rng.integers(0, 3, shape) / 3)}
    if task.kind == "regression":
        return {"predictions": references + rng.normal(size=shape)}
    return {"predictions": np.where(rng.random(shape) < 0.85, references, rng.integers(0, task.num_labels, shape))}


def analysed(task: TaskInfo, references: np.ndarray, systems: list[dict[str, np.ndarray]]) -> Any:
    """What a board computes of one task: intervals of every system, and the comparisons of all pairs."""
    pairs, plain = [], references.tolist()
    scored = TaskScore(
        task=task.name,
        split="validation",
        primary_metric=task.primary_metric,
        metrics={task.primary_metric: MetricScore(value=0.0, per_seed=[0.0] * RUNS)},
        num_examples=len(references),
        seeds=list(range(RUNS)),
    )
    for runs in systems:
        bootstrap.intervals(task.metrics, references, runs, 0)  # type: ignore[arg-type]
        found = TaskOutcomes.model_construct(task=task.name, split="validation", references=plain, runs=runs)
        pairs.append({task.name: paired_examples(scored, found)})
    entries = [Entry(80.0, examples=one[task.name].variance, interaction=one[task.name].interaction) for one in pairs]
    return compare(entries, covariances(pairs, [task.name]))


@pytest.mark.parametrize("task", SCORED, ids=lambda task: task.name)
def test_statistics_of_200_systems(benchmark: Any, task: TaskInfo) -> None:
    rng, count = np.random.default_rng(0), task.split_sizes["validation"]
    if task.kind == "span":
        references = np.unique(rng.integers(0, PARAGRAPHS, count), return_inverse=True)[1]
    elif task.kind == "regression":
        references = np.round(rng.uniform(0, 5, count), 1)
    else:
        references = rng.integers(0, task.num_labels, count)
    systems = [runs_of(task, references, rng) for _ in range(SYSTEMS)]
    benchmark.pedantic(analysed, (task, references, systems), rounds=1)
    benchmark.extra_info |= {"systems": SYSTEMS, "runs": RUNS, "examples": count}
