"""The problem of a search: fields with their values, objectives, constraints, and observations.

The algorithms know nothing about encoders. A problem defines the points, the objectives that are known without an
evaluation, and the gains of objectives, whose hypervolume is maximized.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from benchmark.config import fingerprint

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Value = int | float | str
Point = Mapping[str, Value]
# Spaces of at most this many combinations are enumerated and scored whole.
ENUMERABLE = 20_000


@dataclass(frozen=True)
class Field:
    """One dimension: either listed `values`, ordered or not, or `bounds` of a real number.

    Attributes:
        name: name of the field in points.
        values: the accepted values; empty for a field with bounds.
        bounds: lowest and highest value of a continuous field.
        ordered: True where neighbours in `values` are alike; an unordered field holds names.
    """

    name: str
    values: tuple[Value, ...] = ()
    bounds: tuple[float, float] | None = None
    ordered: bool = True

    def value_at(self, share: float) -> Value:
        """Returns the value at a share in [0, 1) of the field's range."""
        if self.bounds is not None:
            return self.bounds[0] + share * (self.bounds[1] - self.bounds[0])
        return self.values[int(share * len(self.values))]

    def accepts(self, value: Value) -> bool:
        """Returns True where a value is listed, or within the bounds."""
        return value in self.values if self.bounds is None else self.bounds[0] <= float(value) <= self.bounds[1]

    def features(self, values: Sequence[Value]) -> np.ndarray:
        """Scales values to [-0.5, 0.5] for a model, `[points, features]`; positive numbers by their logarithm.

        Widths and depths act by ratios, so steps of equal ratio are equally far apart.
        """
        if not self.ordered:
            return np.array([[0.5 if value == other else -0.5 for other in self.values] for value in values])
        low, high = self.bounds or (min(self.values), max(self.values))  # type: ignore[type-var]
        numbers, ends = np.array(values, float), np.array([low, high], float)
        if self.bounds is None and ends[0] > 0:
            numbers, ends = np.log(numbers), np.log(ends)
        return ((numbers - ends[0]) / max(ends[1] - ends[0], 1e-12) - 0.5)[:, None]


@dataclass(frozen=True)
class Objective:
    """One objective; values at the threshold or worse gain nothing."""

    # Its name in observations.
    name: str
    # Coordinate of the hypervolume's reference point.
    threshold: float
    # Larger values are better.
    maximize: bool = False
    # No value is better (100 for a percentage), or none gains more; None where there is no such limit.
    best: float | None = None
    # Gains are ratios to the threshold instead of differences.
    log: bool = False
    # `Problem.describe` returns it without an evaluation.
    known: bool = False

    def gain(self, values: ArrayLike) -> np.ndarray:
        """Computes the lead over the threshold: 0 for worse values, and no more than for `best`."""
        best = math.inf if self.best is None else float(self._difference(self.best))
        return np.clip(self._difference(values), 0.0, best)

    def better(self, values: ArrayLike) -> np.ndarray:
        """Marks values better than the threshold; without a logarithm, whose last digit varies between machines."""
        numbers = np.asarray(values, float)
        return numbers > self.threshold if self.maximize else numbers < self.threshold

    def _difference(self, values: ArrayLike) -> np.ndarray:
        numbers, threshold = np.asarray(values, float), self.threshold
        if self.log:
            numbers, threshold = np.log(numbers), math.log(threshold)
        return numbers - threshold if self.maximize else threshold - numbers


@dataclass(frozen=True)
class Constraint:
    """A limit on an outcome that needs an evaluation: `name` at least, or at most, `bound`."""

    name: str
    bound: float
    at_least: bool = False

    def holds(self, value: float) -> bool:
        """Returns True where a value satisfies the constraint."""
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True)
class Observation:
    """An evaluated point: mean and standard error of each outcome; none where the evaluation failed."""

    point: Point
    outcomes: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """True where the evaluation has no outcome."""
        return not self.outcomes


def point_hash(point: Point) -> str:
    """Returns the SHA-256 of the point's canonical JSON, which breaks ties."""
    return fingerprint(dict(point))


def nothing_known(_point: Point) -> Mapping[str, float]:
    """Describes a point about which nothing is known in advance."""
    return {}


@dataclass(frozen=True)
class Problem:
    """Fields, objectives and constraints of one search.

    Attributes:
        fields: the dimensions.
        objectives: the objectives to improve.
        constraints: limits on outcomes.
        describe: returns the known objectives of a point, or None for an invalid one.
    """

    fields: tuple[Field, ...]
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()
    describe: Callable[[Point], Mapping[str, float] | None] = nothing_known

    @property
    def enumerable(self) -> bool:
        """True where all points can be listed."""
        return self.size <= ENUMERABLE

    @property
    def size(self) -> float:
        """Number of combinations of values, infeasible ones included; infinite with bounds."""
        return math.prod(math.inf if f.bounds is not None else len(f.values) for f in self.fields)

    @functools.cached_property
    def pool(self) -> Pool:
        """All feasible points, in the order of the fields, the last one varying fastest.

        Raises:
            ValueError: the space is not enumerable.
        """
        if not self.enumerable:
            raise ValueError(f"{self.size} points are too many to enumerate, at most {ENUMERABLE} are")
        names = [f.name for f in self.fields]
        return self.feasible(
            dict(zip(names, values, strict=True)) for values in itertools.product(*(f.values for f in self.fields))
        )

    def described(self, points: Iterable[Point]) -> Pool:
        """Returns the valid points among some, each once, with their known objectives."""
        kept: dict[tuple[Value, ...], Point] = {}
        known: list[Mapping[str, float]] = []
        for point in points:
            if self.key(point) in kept or not all(f.accepts(point[f.name]) for f in self.fields):
                continue
            if (description := self.describe(point)) is not None:
                kept[self.key(point)] = point
                known.append(description)
        names = [o.name for o in self.objectives if o.known]
        return Pool(tuple(kept.values()), {n: np.array([k[n] for k in known], float) for n in names})

    def feasible(self, points: Iterable[Point]) -> Pool:
        """Returns the feasible points among some: valid, and better than the threshold in every known objective."""
        pool = self.described(points)
        better = np.ones(len(pool.points), bool)
        for objective in self.objectives:
            if objective.known:
                better &= objective.better(pool.known[objective.name])
        return pool.take(np.flatnonzero(better))

    def key(self, point: Point) -> tuple[Value, ...]:
        """Returns the point's values in the order of the fields: equal points have equal keys."""
        return tuple(point[f.name] for f in self.fields)

    def features(self, points: Sequence[Point]) -> np.ndarray:
        """Returns coordinates of points for a model, `[points, features]`."""
        return np.concatenate([f.features([p[f.name] for p in points]) for f in self.fields], axis=1)


@dataclass(frozen=True)
class Pool:
    """Points, and the values of each known objective, `[points]`."""

    points: tuple[Point, ...]
    known: Mapping[str, np.ndarray]

    def without(self, problem: Problem, tried: Sequence[Point]) -> Pool:
        """Returns the pool without the points that were tried."""
        keys = {problem.key(p) for p in tried}
        return self.take(np.array([i for i, p in enumerate(self.points) if problem.key(p) not in keys], int))

    def take(self, rows: np.ndarray) -> Pool:
        """Returns the pool's points at some indices."""
        return Pool(tuple(self.points[i] for i in rows), {n: v[rows] for n, v in self.known.items()})
