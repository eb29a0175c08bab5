"""Scores of the systems of a board with their noise: what another run would give, and what the mean is worth.

Pure functions of records. docs/statistics.md says what each number means; the formulas are in `benchmark.statistics`.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from benchmark.records.record import Record, RecordError
from benchmark.statistics import intervals
from benchmark.statistics.intervals import Runs
from benchmark.statistics.pairs import Entry
from benchmark.statistics.scales import PLAIN, PROPORTION, SCALES, Interval, Scale
from benchmark.statistics.variance import Variance
from leaderboard.score_runs import masked_lm_runs, mean_runs, primary, task_runs
from leaderboard.seed_noise import seed_variances
from tasks.catalogue import TASKS
from tasks.scoring.averages import AVERAGES

if TYPE_CHECKING:
    from benchmark.records.task_score import TaskScore
    from leaderboard.pairing import Pairs
    from leaderboard.repeated_runs import RepeatedRuns, RepeatedSystem


@dataclass(frozen=True, order=True)
class TaskKey:
    """Conditions that must be equal before two task scores may be compared."""

    task: str
    split: str
    metric: str
    # How the score differs in kind from the usual one of the task, in words; '' where it does not.
    variant: str = ""
    # The digest of the training file where it is not the official one with all its rows, '' where it is.
    training_file: str = ""

    @classmethod
    def from_score(cls, score: TaskScore) -> TaskKey:
        """Returns the key of a task's primary metric."""
        file = score.training_file
        return cls(score.task, score.split, score.primary_metric, variant(score), "" if file is None else file.sha256)

    @property
    def key(self) -> str:
        """Short text that names the score in addresses and column names."""
        words = [re.sub(r"[^A-Za-z0-9]+", "-", self.variant)] if self.variant else []
        words += [self.training_file[:12]] if self.training_file else []
        return ".".join((self.task, self.split, self.metric, *words))


def variant(score: TaskScore) -> str:
    """Says how a score differs in kind from the usual one of its task, such as `started from MNLI-m`."""
    start = score.recipe.start if score.recipe is not None else None
    return f"started from {TASKS[start].title if start in TASKS else start}" if start else ""


@dataclass(frozen=True)
class Estimate:
    """A score of a system, in percent.

    Attributes:
        value: the score as it is recorded, the median over runs.
        interval: where the mean over runs lies on other examples of the kind, with 95 %; None where it is not known.
        run: where another run of the system falls on the same examples, with 95 %: with other seeds of everything whose
            noise is known; None where no system has two runs.
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


def comparable_averages(record: Record) -> dict[str, float]:
    """Collects the averages of a record whose tasks were all trained on the official files, as their names promise."""
    parts = {task.task for task in record.tasks if task.training_file is not None}
    return {
        name: value
        for name, value in record.averages.items()
        if name not in AVERAGES or not any(task in parts for group in AVERAGES[name].groups for task, _ in group)
    }


def common_tasks(records: Sequence[Record]) -> list[TaskKey]:
    """Lists the task scores that every measured system with at least one score has, by name.

    Published numbers do not shrink the set; they get a mean only where they cover it.
    """
    sets = [set(primary_scores(r)) for r in records if r.system.kind != "reported" and r.tasks]
    return sorted(set.intersection(*sets)) if sets else []


def estimates(
    records: Sequence[Record], repeated: RepeatedRuns | None = None, pairs: Pairs | None = None
) -> dict[str, dict[str, Estimate]]:
    """Estimates every score of every record.

    The variances between fine-tuning seeds, between distillations and between whole runs are pooled over the systems of
    the board and of the repeated runs, task by task, and those of each system are shrunk towards them.

    Args:
        records: the records of one track.
        repeated: whole runs of the track under other seeds, where it has published some.
        pairs: influences of single examples, by record and task, where they are known; elsewhere the recorded interval
            says how much examples count.

    Returns:
        Id of a record -> name of a score -> estimate; the names are `mean` (over `common_tasks`), `masked_lm_accuracy`,
        those of `TaskKey.key` and `average.NAME`. Missing scores are left out.

    Raises:
        RecordError: as `primary_scores`.
    """
    scores = {record.id: primary_scores(record) for record in records}
    measured = {record.id: record.system.name for record in records if record.system.kind != "reported"}
    kinds: dict[str, str] = {} if repeated is None else repeated.kinds
    kinds |= {record.system.name: record.system.kind for record in records}
    found: dict[str, dict[str, Estimate]] = {record.id: {} for record in records}

    def add(
        key: str, runs: Mapping[str, Runs], values: Mapping[str, float], scale: Scale, whole: Mapping[str, Runs]
    ) -> None:
        for name, estimate in _estimated(runs, values, scale, measured, whole, kinds).items():
            found[name][key] = estimate

    common = common_tasks(records)

    def runs_on(name: str, task: TaskScore) -> Runs:
        return task_runs(task, (pairs or {}).get(name, {}).get(task.task))

    whole = {name: [own[key] for key in common] for name, own in scores.items() if common and own.keys() >= {*common}}
    means = {name: math.fsum(primary(task).value for task in tasks) / len(tasks) for name, tasks in whole.items()}
    of_means = {name: mean_runs([runs_on(name, task) for task in tasks]) for name, tasks in whole.items()}
    add("mean", of_means, means, PLAIN, whole_runs(repeated, partial(mean_of, keys=common)))
    masked = {record.id: own for record in records if (own := _masked_lm(record)) is not None}
    values = {name: statistics.median(one[0] for one in own.scores) for name, own in masked.items()}
    add("masked_lm_accuracy", masked, values, PROPORTION, whole_runs(repeated, masked_lm_of))
    for key in sorted({key for own in scores.values() for key in own}):
        having = {name: own[key] for name, own in scores.items() if key in own}
        values = {name: primary(task).value for name, task in having.items()}
        runs = {name: runs_on(name, task) for name, task in having.items()}
        scale, others = SCALES.get(key.metric, PLAIN), whole_runs(repeated, partial(runs_of, key=key))
        add(key.key, runs, values, scale, others)
    for record in records:
        for name, value in comparable_averages(record).items():
            found[record.id][f"average.{name}"] = Estimate(value, entry=Entry(value))
    return found


def whole_runs(
    repeated: RepeatedRuns | None, read: Callable[[RepeatedSystem], Runs | None], without: Collection[int] = ()
) -> dict[str, Runs]:
    """Gives the scores of the systems of repeated runs, each run in the place of a distillation, by name.

    Args:
        repeated: the runs.
        read: reads one score of a system in one run, None where it lacks it; of several distillations the first counts.
        without: numbers of runs to leave out.
    """
    scores: dict[str, list[tuple[float, ...]]] = {}
    for number, run in enumerate(repeated.runs if repeated is not None else ()):
        for name, system in run.systems.items() if number not in without else ():
            own = read(system)
            if own is not None:
                scores.setdefault(name, []).append(own.scores[0])
    return {name: Runs(tuple(own)) for name, own in scores.items() if len(own) > 1}


def runs_of(system: RepeatedSystem, key: TaskKey) -> Runs | None:
    """Reads the scores of a run on a task; None where it lacks it."""
    return next((task_runs(task) for task in system.tasks if TaskKey.from_score(task) == key), None)


def mean_of(system: RepeatedSystem, keys: Sequence[TaskKey]) -> Runs | None:
    """Reads the means of a run over tasks; None where it lacks one."""
    own = {TaskKey.from_score(task): task for task in system.tasks}
    return mean_runs([task_runs(own[key]) for key in keys]) if keys and own.keys() >= {*keys} else None


def masked_lm_of(system: RepeatedSystem) -> Runs | None:
    """Reads the masked-LM accuracy of a run; None where it was not measured."""
    accuracy = system.masked_lm_accuracy
    return None if accuracy is None else masked_lm_runs([accuracy], system.masked_lm_predictions)


def _masked_lm(record: Record) -> Runs | None:
    training = record.training
    if training is None or training.masked_lm_accuracy is None:
        return None
    replicates = [one.masked_lm_accuracy for one in training.replicates if one.masked_lm_accuracy is not None]
    return masked_lm_runs(replicates or [training.masked_lm_accuracy], training.masked_lm_predictions)


def _estimated(
    runs: Mapping[str, Runs],
    values: Mapping[str, float],
    scale: Scale,
    measured: Mapping[str, str],
    whole: Mapping[str, Runs],
    kinds: Mapping[str, str],
) -> dict[str, Estimate]:
    """Estimates one score of all systems that have it; published numbers have no noise that we know.

    Args:
        runs: the runs of each record, by id.
        values: the recorded score of each.
        scale: of the metric.
        measured: name of the system of each record that is not a published number.
        whole: repeated runs of systems, by name.
        kinds: kind of each system, by name.
    """
    found = {name: Estimate(values[name], entry=Entry(values[name])) for name in runs}
    systems = {name: measured[name] for name in runs if name in measured}
    for name, seeds in seed_variances({name: runs[name] for name in systems}, systems, scale, whole, kinds).items():
        own = runs[name]
        of_mean, slope = seeds.of_mean(own), scale.slope(own.mean)
        raw = Variance(of_mean.value / (slope * slope), of_mean.degrees)
        variance = intervals.of_mean(own.items, raw, own.interaction)
        found[name] = Estimate(
            values[name],
            intervals.of_the_mean(own, variance, scale) if own.items.known else None,
            intervals.of_another_run(own, seeds, scale),
            Entry(own.mean, raw, own.items, own.interaction),
        )
    return found
