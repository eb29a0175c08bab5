"""Scores of the systems of a board with their noise: what another run would give, and what the mean is worth.

Pure functions of records. docs/statistics.md says what each number means; the formulas are in `benchmark.statistics`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmark.records.record import MetricScore, Record, RecordError, TaskScore
from benchmark.statistics import intervals
from benchmark.statistics.intervals import Runs, Seeds
from benchmark.statistics.pairs import Entry
from benchmark.statistics.scales import PLAIN, PROPORTION, SCALES, Interval, Scale, quantile
from benchmark.statistics.variance import UNKNOWN, Variance, shrunk, total
from tasks.catalogue import TASKS


@dataclass(frozen=True, order=True)
class TaskKey:
    """Conditions that must be equal before two task scores may be compared."""

    task: str
    split: str
    metric: str
    # How the score differs in kind from the usual one of the task, in words; '' where it does not.
    variant: str = ""

    @classmethod
    def from_score(cls, score: TaskScore) -> TaskKey:
        """Returns the key of a task's primary metric."""
        return cls(score.task, score.split, score.primary_metric, variant(score))

    @property
    def key(self) -> str:
        """Short text that names the score in addresses and column names."""
        words = [re.sub(r"[^A-Za-z0-9]+", "-", self.variant)] if self.variant else []
        return ".".join((self.task, self.split, self.metric, *words))


def variant(score: TaskScore) -> str:
    """Says how a score differs in kind from the usual one of its task, such as `started from MNLI-m`."""
    start = score.recipe.start if score.recipe is not None else None
    return f"started from {TASKS[start].title if start in TASKS else start}" if start else ""


@dataclass(frozen=True)
class Estimate:
    """A score of a system, in percent.

    Attributes:
        value: the score as it is recorded, the median over fine-tuning seeds.
        interval: where the mean over runs lies on other examples of the kind, with 95 %; None where it is not known.
        run: where another run of the system falls on the same examples, with 95 %; None where no system has two runs.
        entry: for comparisons with other systems.
    """

    value: float
    interval: Interval | None = None
    run: Interval | None = None
    entry: Entry = Entry(0.0)


def primary_scores(record: Record) -> dict[TaskKey, TaskScore]:
    """Collects the tasks of a record by their primary metric.

    Raises:
        RecordError: a task is scored twice on the same split.
    """
    scores: dict[TaskKey, TaskScore] = {}
    for task in record.tasks:
        key = TaskKey.from_score(task)
        if key in scores:
            raise RecordError(f"{record.id}: tasks: {task.task!r} on split {task.split!r} is given twice")
        scores[key] = task
    return scores


def common_tasks(records: Sequence[Record]) -> list[TaskKey]:
    """Lists the task scores that every measured system with at least one score has, by name.

    Published numbers do not shrink the set; they get a mean only where they cover it.
    """
    sets = [set(primary_scores(r)) for r in records if r.system.kind != "reported" and r.tasks]
    return sorted(set.intersection(*sets)) if sets else []


def estimates(records: Sequence[Record]) -> dict[str, dict[str, Estimate]]:
    """Estimates every score of every record.

    The variance between fine-tuning seeds is pooled over the systems of the board, task by task, and that of each
    system is shrunk towards it.

    Returns:
        Id of a record -> name of a score -> estimate; the names are `mean` (over `common_tasks`), `masked_lm_accuracy`,
        those of `TaskKey.key` and `average.NAME`. Missing scores are left out.

    Raises:
        RecordError: as `primary_scores`.
    """
    scores = {record.id: primary_scores(record) for record in records}
    reported = {record.id for record in records if record.system.kind == "reported"}
    found: dict[str, dict[str, Estimate]] = {record.id: {} for record in records}

    def add(key: str, runs: Mapping[str, Runs], values: Mapping[str, float], scale: Scale) -> None:
        for name, estimate in _estimated(runs, values, scale, reported).items():
            found[name][key] = estimate

    common = common_tasks(records)
    whole = {name: [own[key] for key in common] for name, own in scores.items() if common and own.keys() >= {*common}}
    means = {name: math.fsum(_primary(task).value for task in tasks) / len(tasks) for name, tasks in whole.items()}
    add("mean", {name: _mean_runs(tasks) for name, tasks in whole.items()}, means, PLAIN)
    masked = {record.id: runs for record in records if (runs := _masked_lm_runs(record)) is not None}
    add("masked_lm_accuracy", masked, {name: runs.mean for name, runs in masked.items()}, PROPORTION)
    for key in sorted({key for own in scores.values() for key in own}):
        having = {name: own[key] for name, own in scores.items() if key in own}
        values = {name: _primary(task).value for name, task in having.items()}
        add(key.key, {name: _runs(task) for name, task in having.items()}, values, SCALES.get(key.metric, PLAIN))
    for record in records:
        for name, value in record.averages.items():
            found[record.id][f"average.{name}"] = Estimate(value, entry=Entry(value))
    return found


def _primary(task: TaskScore) -> MetricScore:
    return task.metrics[task.primary_metric]


def _runs(task: TaskScore) -> Runs:
    """Reads the runs of a task; the recorded interval is that of the bootstrap over examples."""
    metric = _primary(task)
    if metric.interval is None:
        return Runs((tuple(metric.per_seed or [metric.value]),))
    half = (metric.interval[1] - metric.interval[0]) / (2.0 * quantile(intervals.CONFIDENCE, math.inf))
    # Where no drawn example was wrong, or none right, the bootstrap sees no noise: two of each are added (Agresti and
    # Coull 1998, doi 10.2307/2685469).
    least = 1e4 * 2.0 * (task.num_examples + 2.0) / (task.num_examples + 4.0) ** 3 if half == 0.0 else 0.0
    examples = Variance(max(half * half, least), max(task.num_examples - 1.0, 1.0))
    return Runs((tuple(metric.per_seed),), examples, task.num_examples)


def _mean_runs(tasks: Sequence[TaskScore]) -> Runs:
    """Makes the runs of the mean: seed by seed where all tasks have as many.

    The errors of different tasks are independent, as their examples are.
    """
    runs, share = [_runs(task) for task in tasks], 1.0 / len(tasks)
    seeds = [run.scores[0] for run in runs]
    if len({len(own) for own in seeds}) == 1:
        scores = tuple(math.fsum(own) * share for own in zip(*seeds, strict=True))
    else:
        scores = (math.fsum(run.mean for run in runs) * share,)
    known = all(run.items.known for run in runs)
    return Runs((scores,), total(*((share * share, run.items) for run in runs)) if known else UNKNOWN)


def _masked_lm_runs(record: Record) -> Runs | None:
    """Makes the one run of masked-LM accuracy, with the variance of a proportion where its count is known."""
    training = record.training
    if training is None or training.masked_lm_accuracy is None:
        return None
    percent, count = training.masked_lm_accuracy, training.masked_lm_predictions
    if not count:
        return Runs(((percent,),))
    return Runs(((percent,),), Variance(percent * (100.0 - percent) / count, math.inf), count)


def _estimated(
    runs: Mapping[str, Runs], values: Mapping[str, float], scale: Scale, reported: set[str]
) -> dict[str, Estimate]:
    """Estimates one score of all systems that have it; published numbers have no noise that we know."""
    measured = [name for name in runs if name not in reported]
    finetune = shrunk([intervals.own_seeds(runs[name], scale).finetune for name in measured])
    found = {name: Estimate(values[name], entry=Entry(values[name])) for name in runs}
    for name, variance in zip(measured, finetune, strict=True):
        own, seeds = runs[name], Seeds(variance)
        of_mean, slope = seeds.of_mean(own), scale.slope(own.mean)
        raw = Variance(of_mean.value / (slope * slope), of_mean.degrees)
        whole = intervals.of_mean(own.items, raw, UNKNOWN)
        found[name] = Estimate(
            values[name],
            intervals.of_the_mean(own, whole, scale) if own.items.known else None,
            intervals.of_another_run(own, seeds, scale),
            Entry(own.mean, raw, own.items),
        )
    return found
