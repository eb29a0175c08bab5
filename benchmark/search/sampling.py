"""Points chosen without a model: Sobol sequences, random orders, neighbours, initial designs."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import qmc

if TYPE_CHECKING:
    from benchmark.search.problem import Point, Problem

# Points drawn from a space that is too large to be enumerated.
SAMPLE = 4096
_FROM_EACH_STRATUM = 64
_NEAR = 0.05
# Decimals of shares and distances that are compared: with listed values they are often equal but for rounding.
_DECIMALS = 9


def sobol_points(problem: Problem, seed: int, count: int) -> list[Point]:
    """Returns the first `count` points of a scrambled Sobol sequence; points of listed values may repeat."""
    sequence = qmc.Sobol(d=len(problem.fields), seed=np.random.default_rng(seed))
    with warnings.catch_warnings():
        # The sequence is best balanced at powers of two; other prefixes are still more even than chance.
        warnings.simplefilter("ignore", UserWarning)
        shares = sequence.random(count)
    return [{f.name: f.value_at(float(u)) for f, u in zip(problem.fields, row, strict=True)} for row in shares]


def random_points(problem: Problem, seed: int, count: int) -> list[Point]:
    """Draws independent uniform points."""
    shares = np.random.default_rng(seed).random((count, len(problem.fields)))
    return [{f.name: f.value_at(float(u)) for f, u in zip(problem.fields, row, strict=True)} for row in shares]


def neighbours(problem: Problem, centres: Sequence[Point], seed: int) -> list[Point]:
    """Returns the points that differ from a centre in one field, by any other listed value or by a small step."""
    rng = np.random.default_rng((seed, 1))
    found: list[Point] = []
    for centre, field in itertools.product(centres, problem.fields):
        if field.bounds is None:
            found += [{**centre, field.name: value} for value in field.values if value != centre[field.name]]
        else:
            low, high = field.bounds
            moved = float(centre[field.name]) + _NEAR * (high - low) * rng.standard_normal(4)
            found += [{**centre, field.name: float(value)} for value in np.clip(moved, low, high)]
    return found


def sobol_order(problem: Problem, seed: int) -> Iterator[Point]:
    """Yields feasible points, each once, so that every prefix covers the space evenly.

    A space that can be enumerated is covered to its last point; of another, the feasible ones of `SAMPLE` points are
    yielded.
    """
    spread = problem.feasible(sobol_points(problem, seed, 256 if problem.enumerable else SAMPLE))
    yield from spread.points
    if problem.enumerable:
        rest = problem.pool.without(problem, spread.points).points
        yield from (rest[i] for i in np.random.default_rng(seed).permutation(len(rest)))


def random_order(problem: Problem, seed: int) -> Iterator[Point]:
    """Yields feasible points, each once, in a random order; all of them where they can be enumerated."""
    if problem.enumerable:
        points = problem.pool.points
        yield from (points[i] for i in np.random.default_rng(seed).permutation(len(points)))
    else:
        yield from problem.feasible(random_points(problem, seed, SAMPLE)).points


def design(problem: Problem, seed: int, count: int) -> list[Point]:
    """Chooses the initial points of a search.

    With one known objective, such as latency, its range between the smallest gain and the largest is cut into `count`
    equal strata, and one point is taken from each: of a few drawn at random the one farthest from those taken before.
    So the first points already spread along the whole front. Without a known objective they are the first of
    `sobol_order`.

    Returns:
        `count` points, or all there are.
    """
    known = [o for o in problem.objectives if o.known]
    chosen: list[Point] = []
    if len(known) == 1:
        pool = problem.pool if problem.enumerable else problem.feasible(sobol_points(problem, seed, SAMPLE))
        if pool.points:
            rng = np.random.default_rng(seed)
            x, gains = problem.features(pool.points), known[0].gain(pool.known[known[0].name])
            share = (gains - gains.min()) / max(float(np.ptp(gains)), 1e-12)
            stratum = np.minimum(np.round(share * count, _DECIMALS).astype(int), count - 1)
            taken: list[int] = []
            # The fastest first: their loss of accuracy says most about the space.
            for number in reversed(range(count)):
                drawn = rng.permutation(np.flatnonzero(stratum == number))[:_FROM_EACH_STRATUM]
                if len(drawn):
                    squares = ((x[drawn, None] - x[None, taken]) ** 2).sum(-1).min(1) if taken else np.zeros(len(drawn))
                    # Of equally far ones the first that was drawn.
                    taken.append(int(drawn[np.round(squares, _DECIMALS).argmax()]))
            chosen = [pool.points[i] for i in taken]
    keys = {problem.key(p) for p in chosen}
    others = (p for p in sobol_order(problem, seed) if problem.key(p) not in keys)
    return [*chosen, *itertools.islice(others, count - len(chosen))]
