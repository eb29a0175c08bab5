"""Systems paired by examples: what the outcomes beside their records say of the noise of scores and of differences."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from benchmark.records.record import RecordError
from benchmark.statistics.intervals import of_examples, shared_by_both
from tasks.scoring import bootstrap, outcomes

if TYPE_CHECKING:
    from benchmark.records.outcomes import TaskOutcomes
    from benchmark.records.task_score import TaskScore
    from benchmark.statistics.variance import Variance

# Id of a record -> task -> influences of its examples.
Pairs: TypeAlias = Mapping[str, Mapping[str, "PairedExamples"]]
# Scores are computed by the same program wherever they are checked; sums may be ordered in another way.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class PairedExamples:
    """The influence of the examples of a task on one system's primary score, the mean over its runs.

    Attributes:
        examples: digest of the references; systems with equal ones are paired.
        influences: of every example (paragraph, of a span task), in percent, `[n]`.
        variance: of the mean over runs that comes from the choice of examples, in percent squared.
        interaction: what of it is counted among the seeds, too (`benchmark.statistics.intervals.shared_by_both`).
    """

    examples: str
    influences: np.ndarray
    variance: Variance
    interaction: Variance


def paired_examples(task: TaskScore, found: TaskOutcomes) -> PairedExamples:
    """Computes the influences on the primary score of a task.

    Distillations count alike, as in the mean over runs, whatever their number of fine-tuning seeds.
    """
    moved = outcomes.influences(task.primary_metric, found.references, found.runs)
    distillations = task.distill_seeds or [0] * len(task.seeds)
    weights = np.array([1.0 / distillations.count(seed) for seed in distillations])
    mean = weights @ moved / weights.sum()
    examples = hashlib.sha256(np.asarray(found.references, np.float64).tobytes()).hexdigest()
    return PairedExamples(examples, mean, of_examples(mean[None]), shared_by_both(moved))


def covariances(systems: Sequence[Mapping[str, PairedExamples]], tasks: Sequence[str]) -> np.ndarray | None:
    """Computes the covariances of the mean scores of systems over the choice of examples.

    Args:
        systems: the examples of each system by task; a task may be missing.
        tasks: over which scores are averaged; one for the score of a task.

    Returns:
        In percent squared, `[systems, systems]`, 0 where two systems share no examples; None where none do.
    """
    total, any_pair = np.zeros((len(systems), len(systems))), False
    for task in tasks:
        groups: dict[tuple[str, int], list[int]] = {}
        for number, system in enumerate(systems):
            if task in system:
                own = system[task]
                groups.setdefault((own.examples, len(own.influences)), []).append(number)
        for members in (members for members in groups.values() if len(members) > 1):
            moved = np.array([systems[number][task].influences for number in members])
            count = moved.shape[1]
            if count > 1:
                any_pair = True
                centred = moved - moved.mean(1, keepdims=True)
                total[np.ix_(members, members)] += centred @ centred.T / (count - 1) / count / len(tasks) ** 2
    return total if any_pair else None


def check_scores(task: TaskScore, found: TaskOutcomes, place: str, *, intervals: bool = False) -> None:
    """Refuses scores that do not follow from the outcomes.

    Args:
        task: the recorded scores.
        found: what their runs made of every example.
        place: names the record in the message.
        intervals: recomputes the bootstrap, too, which takes seconds.

    Raises:
        RecordError: names the metric, the recorded values and those that follow.
    """
    computed = {name: outcomes.scores(name, found.references, found.runs) for name in task.metrics}
    for name, metric in task.metrics.items():
        same = np.allclose(metric.per_seed, computed[name], rtol=0.0, atol=_ROUNDING)
        if not same or abs(metric.value - float(np.median(computed[name]))) > _ROUNDING:
            raise RecordError(
                f"{place}: tasks.{task.task}.metrics.{name} = {_words([metric.value, *metric.per_seed])}: its outcomes"
                f" give {_words([float(np.median(computed[name])), *computed[name]])}"
            )
    if intervals:
        middle = outcomes.middle_run(computed[task.primary_metric])
        drawn = bootstrap.intervals(tuple(task.metrics), found.references, found.runs, middle)
        for name, metric in task.metrics.items():
            if metric.interval is None or not np.allclose(metric.interval, drawn[name], rtol=0.0, atol=_ROUNDING):
                raise RecordError(
                    f"{place}: tasks.{task.task}.metrics.{name}.interval = {metric.interval}: its outcomes give"
                    f" {drawn[name]}"
                )


def _words(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)
