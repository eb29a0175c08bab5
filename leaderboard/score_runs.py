"""The runs of a system as its record has them: one score for each distillation and fine-tuning seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.statistics.intervals import CONFIDENCE, Runs
from benchmark.statistics.scales import quantile
from benchmark.statistics.variance import Variance, total

if TYPE_CHECKING:
    from benchmark.records.task_score import MetricScore, TaskScore

if TYPE_CHECKING:
    from leaderboard.pairing import PairedExamples


def primary(task: TaskScore) -> MetricScore:
    """Returns the score of a task's primary metric."""
    return task.metrics[task.primary_metric]


def task_runs(task: TaskScore, paired: PairedExamples | None = None) -> Runs:
    """Reads the runs of a task, with the noise of its examples.

    Args:
        task: the scores.
        paired: influences of its examples; without them the recorded interval, that of the bootstrap over examples of
            one run, says how much they count.
    """
    metric, scores = primary(task), _by_distillation(task)
    if paired is not None:
        count = len(paired.influences)
        least = _least_variance(count) if paired.variance.value == 0.0 else 0.0
        examples = Variance(max(paired.variance.value, least), paired.variance.degrees)
        return Runs(scores, examples, count, paired.interaction)
    if metric.interval is None:
        return Runs(scores)
    half = (metric.interval[1] - metric.interval[0]) / (2.0 * quantile(CONFIDENCE, math.inf))
    least = _least_variance(task.num_examples) if half == 0.0 else 0.0
    examples = Variance(max(half * half, least), max(task.num_examples - 1.0, 1.0))
    return Runs(scores, examples, task.num_examples)


def _least_variance(count: int) -> float:
    """Gives the variance of a share of 0 or 1, of which the examples themselves show none.

    Two examples of each kind are added (Agresti and Coull 1998, doi 10.2307/2685469).
    """
    return 1e4 * 2.0 * (count + 2.0) / (count + 4.0) ** 3


def _by_distillation(task: TaskScore) -> tuple[tuple[float, ...], ...]:
    """Groups the scores of a task by the distillation that they started from."""
    groups: dict[int, list[float]] = {}
    values = primary(task).per_seed
    for distill_seed, value in zip(task.distill_seeds or [0] * len(values), values, strict=True):
        groups.setdefault(distill_seed, []).append(value)
    return tuple(tuple(group) for group in groups.values())


def mean_runs(runs: Sequence[Runs]) -> Runs:
    """Makes the runs of the mean of tasks from those of each: run by run where all have the same ones.

    The errors of different tasks are independent, as their examples are.
    """
    share = 1.0 / len(runs)
    if len({tuple(len(group) for group in own.scores) for own in runs}) == 1:
        scores = tuple(
            tuple(math.fsum(values) * share for values in zip(*groups, strict=True))
            for groups in zip(*(own.scores for own in runs), strict=True)
        )
    else:
        scores = ((math.fsum(own.mean for own in runs) * share,),)
    if not all(own.items.known for own in runs):
        return Runs(scores)
    items = total(*((share * share, own.items) for own in runs))
    interaction = total(*((share * share, own.interaction) for own in runs))
    return Runs(scores, items, min(own.examples for own in runs), interaction)


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
