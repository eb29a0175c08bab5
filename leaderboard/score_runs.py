"""The runs of a system as its record has them: one score for each distillation and fine-tuning seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.statistics.intervals import CONFIDENCE, Runs
from benchmark.statistics.scales import quantile
from benchmark.statistics.variance import UNKNOWN, Variance, total

if TYPE_CHECKING:
    from benchmark.records.record import MetricScore, TaskScore


def primary(task: TaskScore) -> MetricScore:
    """Returns the score of a task's primary metric."""
    return task.metrics[task.primary_metric]


def task_runs(task: TaskScore) -> Runs:
    """Reads the runs of a task; the recorded interval is that of the bootstrap over examples."""
    metric, scores = primary(task), _by_distillation(task)
    if metric.interval is None:
        return Runs(scores)
    half = (metric.interval[1] - metric.interval[0]) / (2.0 * quantile(CONFIDENCE, math.inf))
    # Where no drawn example was wrong, or none right, the bootstrap sees no noise: two of each are added (Agresti and
    # Coull 1998, doi 10.2307/2685469).
    least = 1e4 * 2.0 * (task.num_examples + 2.0) / (task.num_examples + 4.0) ** 3 if half == 0.0 else 0.0
    examples = Variance(max(half * half, least), max(task.num_examples - 1.0, 1.0))
    return Runs(scores, examples, task.num_examples)


def _by_distillation(task: TaskScore) -> tuple[tuple[float, ...], ...]:
    """Groups the scores of a task by the distillation that they started from."""
    groups: dict[int, list[float]] = {}
    values = primary(task).per_seed
    for distill_seed, value in zip(task.distill_seeds or [0] * len(values), values, strict=True):
        groups.setdefault(distill_seed, []).append(value)
    return tuple(tuple(group) for group in groups.values())


def mean_runs(tasks: Sequence[TaskScore]) -> Runs:
    """Makes the runs of the mean of tasks: run by run where all have the same ones.

    The errors of different tasks are independent, as their examples are.
    """
    runs, share = [task_runs(task) for task in tasks], 1.0 / len(tasks)
    if len({tuple(len(group) for group in own.scores) for own in runs}) == 1:
        scores = tuple(
            tuple(math.fsum(values) * share for values in zip(*groups, strict=True))
            for groups in zip(*(own.scores for own in runs), strict=True)
        )
    else:
        scores = ((math.fsum(own.mean for own in runs) * share,),)
    known = all(own.items.known for own in runs)
    return Runs(scores, total(*((share * share, own.items) for own in runs)) if known else UNKNOWN)


def masked_lm_runs(accuracies: Sequence[float], predictions: int | None) -> Runs:
    """Makes the runs of masked-LM accuracy, with the variance of a proportion where its count is known.

    Args:
        accuracies: of each distillation, in percent.
        predictions: masked tokens of one evaluation.
    """
    scores = tuple((accuracy,) for accuracy in accuracies)
    if not predictions:
        return Runs(scores)
    mean = Runs(scores).mean
    return Runs(scores, Variance(mean * (100.0 - mean) / predictions, math.inf), predictions)
