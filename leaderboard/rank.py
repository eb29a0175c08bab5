"""Comparable groups, mean scores with intervals, tie groups and Pareto fronts.

Pure functions of records and numbers. Two latencies are compared only inside one `LatencyGroup`, two scores only where
task, split and metric are the same. Systems of the kinds in `CONTENDERS` are ranked and stand on the front; teachers,
untrained controls and published numbers are shown with them as points of reference.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmark.records.record import LatencyBlock, Record, RecordError, TaskScore
from benchmark.search.pareto import non_dominated

CONTENDERS = frozenset({"found", "baseline"})
_METHODS = ("measured", "compiled", "roofline", "reported")
_Z95 = 1.959963984540054


@dataclass(frozen=True, order=True)
class LatencyGroup:
    """Conditions that must be equal before two latencies may be compared."""

    method: str
    chip: str
    batch_size: int
    sequence_length: int
    dtype: str
    runtime: str = ""
    threads: int = 0
    protocol_version: int = 0

    @classmethod
    def from_block(cls, block: LatencyBlock) -> LatencyGroup:
        """Returns the group of a latency block; '' and 0 stand for conditions that its method lacks."""
        shape = (block.method, block.chip, block.batch_size, block.sequence_length, block.dtype)
        return cls(*shape, block.runtime or "", block.threads or 0, block.protocol_version or 0)

    @property
    def key(self) -> str:
        """Short text that names the group in addresses and column names."""
        parts = [self.method, self.chip, f"b{self.batch_size}", f"l{self.sequence_length}", self.dtype, self.runtime]
        parts += [
            f"t{self.threads}" if self.threads else "",
            f"p{self.protocol_version}" if self.protocol_version else "",
        ]
        return ".".join(part for part in parts if part)


@dataclass(frozen=True, order=True)
class TaskKey:
    """Conditions that must be equal before two task scores may be compared."""

    task: str
    split: str
    metric: str

    @classmethod
    def from_score(cls, score: TaskScore) -> TaskKey:
        """Returns the key of a task's primary metric."""
        return cls(score.task, score.split, score.primary_metric)

    @property
    def key(self) -> str:
        """Short text that names the score in addresses and column names."""
        return f"{self.task}.{self.split}.{self.metric}"


@dataclass(frozen=True)
class ScoreEstimate:
    """A number with its 95 % interval; the interval is None where it is not known."""

    value: float
    interval: tuple[float, float] | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval, or the number itself twice where the interval is not known."""
        return self.interval or (self.value, self.value)


@dataclass(frozen=True)
class Place:
    """A rank that may be shared: `rank` counts the systems of all better groups, plus one."""

    rank: int
    tied: bool


def wilson_interval(percent: float, count: int) -> tuple[float, float]:
    """Computes the 95 % Wilson interval of a proportion (Wilson 1927, doi 10.1080/01621459.1927.10502953).

    Args:
        percent: the proportion, 0 to 100.
        count: the number of trials.

    Returns:
        Lower and upper bound in percent, inside 0 to 100.
    """
    p, z2 = percent / 100, _Z95 * _Z95
    centre = (p + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z95 * math.sqrt(p * (1 - p) / count + z2 / (4 * count * count)) / (1 + z2 / count)
    return 100 * max(0.0, min(p, centre - half)), 100 * min(1.0, max(p, centre + half))


def primary_scores(record: Record) -> dict[TaskKey, ScoreEstimate]:
    """Collects the primary metric of every task of a record.

    Raises:
        RecordError: a task is scored twice on the same split.
    """
    scores: dict[TaskKey, ScoreEstimate] = {}
    for task in record.tasks:
        key, metric = TaskKey.from_score(task), task.metrics[task.primary_metric]
        if key in scores:
            raise RecordError(f"{record.id}: tasks: {task.task!r} on split {task.split!r} is given twice")
        scores[key] = ScoreEstimate(metric.value, metric.interval)
    return scores


def latency_blocks(record: Record) -> dict[LatencyGroup, LatencyBlock]:
    """Sorts the latency blocks of a record by group.

    Raises:
        RecordError: two blocks belong to the same group, so that neither is the system's latency.
    """
    blocks: dict[LatencyGroup, LatencyBlock] = {}
    for block in record.latency:
        group = LatencyGroup.from_block(block)
        if group in blocks:
            raise RecordError(f"{record.id}: latency: two blocks for {group.key}")
        blocks[group] = block
    return blocks


def latency_groups(records: Iterable[Record]) -> list[LatencyGroup]:
    """Lists all groups: most systems first, then measured before estimated, then by name."""
    counts = Counter(group for record in records for group in latency_blocks(record))
    return sorted(counts, key=lambda group: (-counts[group], _METHODS.index(group.method), group))


def group_reference(records: Iterable[Record], group: LatencyGroup) -> str | None:
    """Returns the most frequent reference of a group; speed-ups over another reference are not comparable."""
    blocks = (latency_blocks(record).get(group) for record in records)
    counts = Counter(block.reference for block in blocks if block and block.reference and block.speedup is not None)
    return min(counts, key=lambda name: (-counts[name], name)) if counts else None


def common_tasks(records: Iterable[Record]) -> list[TaskKey]:
    """Lists the task scores that every measured system with at least one score has, by name.

    Published numbers do not shrink the set; they get a mean only where they cover it.
    """
    sets = [set(primary_scores(r)) for r in records if r.system.kind != "reported" and r.tasks]
    return sorted(set.intersection(*sets)) if sets else []


def mean_estimate(scores: Mapping[TaskKey, ScoreEstimate], tasks: Sequence[TaskKey]) -> ScoreEstimate | None:
    """Computes the plain mean of some task scores.

    The interval takes the errors of different tasks as independent (their examples are) and adds them in quadrature,
    separately for each side; it is unknown where that of one task is.

    Args:
        scores: the scores of one system.
        tasks: the tasks of the mean.

    Returns:
        The mean, or None where a score is missing or there is no task.
    """
    if not tasks or any(task not in scores for task in tasks):
        return None
    chosen = [scores[task] for task in tasks]
    value = math.fsum(score.value for score in chosen) / len(chosen)
    if any(score.interval is None for score in chosen):
        return ScoreEstimate(value)
    low, high = (
        math.sqrt(math.fsum((score.bounds[side] - score.value) ** 2 for score in chosen)) / len(chosen)
        for side in (0, 1)
    )
    return ScoreEstimate(value, (value - low, value + high))


def masked_lm_estimate(record: Record) -> ScoreEstimate | None:
    """Returns the masked-LM accuracy, with its Wilson interval where the number of predictions is known."""
    training = record.training
    if training is None or training.masked_lm_accuracy is None:
        return None
    value, count = training.masked_lm_accuracy, training.masked_lm_predictions
    return ScoreEstimate(value, wilson_interval(value, count) if count else None)


def tie_places(scores: Mapping[str, ScoreEstimate]) -> dict[str, Place]:
    """Ranks systems by score, higher first, with ties.

    A group is led by the best system that is not placed yet; it takes every following system, in order of score, whose
    95 % interval overlaps the leader's, up to the first that does not. No member can be told
    apart from the leader by their two intervals.

    Args:
        scores: the score of each system by id.

    Returns:
        The place of each system.
    """
    order = sorted(scores, key=lambda name: (-scores[name].value, name))
    places: dict[str, Place] = {}
    start = 0
    while start < len(order):
        floor = scores[order[start]].bounds[0]
        stop = start + 1
        while stop < len(order) and scores[order[stop]].bounds[1] >= floor:
            stop += 1
        for name in order[start:stop]:
            places[name] = Place(start + 1, stop - start > 1)
        start = stop
    return places


def pareto_front(points: Mapping[str, tuple[float | None, float | None]]) -> list[str]:
    """Lists the systems that no other one dominates, in order of rising cost.

    One system dominates another when its cost is not higher and its score not lower, and one of the two is better.
    Systems that are equal in both are on the front together.

    Args:
        points: (cost, score) of each system by id; a system without one of them cannot be placed and is left out.

    Returns:
        Ids of the front.
    """
    known = {name: (score, cost) for name, (cost, score) in points.items() if cost is not None and score is not None}
    members = non_dominated(list(known.values()))
    front = [name for name, member in zip(known, members, strict=True) if member]
    return sorted(front, key=lambda name: (known[name][1], -known[name][0], name))
