"""Search algorithms behind one interface, which turns observations into the points to try next.

A suggestion is a pure function of its arguments. A search that was killed therefore continues exactly as it would have,
and no state of an algorithm needs saving.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

from benchmark.search import sampling
from benchmark.search.problem import ENUMERABLE, Observation, Point, Problem
from tasks.system.errors import StageError

Suggested = list[tuple[Point, str]]
Algorithm = Callable[[Problem, Sequence[Observation], Sequence[Point], int, int], list[Point]]


def _ax(
    problem: Problem, observations: Sequence[Observation], running: Sequence[Point], count: int, seed: int
) -> list[Point]:
    from benchmark.search import ax_search

    return ax_search.suggest(problem, observations, running, count, seed)


def _nsga2(
    problem: Problem, observations: Sequence[Observation], running: Sequence[Point], count: int, seed: int
) -> list[Point]:
    from benchmark.search import nsga2

    return nsga2.suggest(problem, observations, running, count, seed)


def _fresh(problem: Problem, order: Iterable[Point], tried: Sequence[Point], count: int) -> list[Point]:
    keys = {problem.key(p) for p in tried}
    return list(itertools.islice((p for p in order if problem.key(p) not in keys), count))


def _sobol(
    problem: Problem, observations: Sequence[Observation], running: Sequence[Point], count: int, seed: int
) -> list[Point]:
    return _fresh(problem, sampling.sobol_order(problem, seed), [*(o.point for o in observations), *running], count)


def _random(
    problem: Problem, observations: Sequence[Observation], running: Sequence[Point], count: int, seed: int
) -> list[Point]:
    return _fresh(problem, sampling.random_order(problem, seed), [*(o.point for o in observations), *running], count)


def _exhaustive(
    problem: Problem, observations: Sequence[Observation], running: Sequence[Point], count: int, _seed: int
) -> list[Point]:
    if not problem.enumerable:
        raise StageError(
            f"SearchConfig.algorithm = 'exhaustive': expected a space of at most {ENUMERABLE} combinations of values, "
            f"not {problem.size:.0f}"
        )
    return _fresh(problem, problem.pool.points, [*(o.point for o in observations), *running], count)


ALGORITHMS: dict[str, Algorithm] = {
    "ax": _ax,
    "nsga2": _nsga2,
    "sobol": _sobol,
    "random": _random,
    "exhaustive": _exhaustive,
}
# These learn from the first points, so a search begins with a design; the others need none.
MODEL_BASED = ("ax", "nsga2")


def suggest(
    algorithm: str,
    problem: Problem,
    observations: Sequence[Observation],
    running: Sequence[Point],
    count: int,
    seed: int,
    initial: int = 0,
) -> Suggested:
    """Proposes the next points, each feasible and never tried before.

    Args:
        algorithm: one of `ALGORITHMS`.
        problem: the problem.
        observations: all that ended, failed ones among them, in the order in which they began.
        running: points that were proposed and are still evaluated.
        count: points wanted.
        seed: seed of the search; equal arguments give equal points.
        initial: points of the design that come first for an algorithm that learns.

    Returns:
        Up to `count` pairs of a point and who proposed it: `design`, the algorithm, or `sobol` where the algorithm has
        nothing to learn from or proposes too few. The list is empty when every point was tried.

    Raises:
        StageError: the algorithm cannot be used for this problem, or its package is missing.
    """
    tried = [*(o.point for o in observations), *running]
    if problem.enumerable:
        count = min(count, len(problem.pool.without(problem, tried).points))
    chosen: Suggested = []
    if count and algorithm in MODEL_BASED and len(tried) < initial:
        first = _fresh(problem, sampling.design(problem, seed, initial), tried, min(count, initial - len(tried)))
        chosen = [(point, "design") for point in first]
    learnable = algorithm not in MODEL_BASED or any(not o.failed for o in observations)
    if count and learnable and not chosen:
        proposed = ALGORITHMS[algorithm](problem, observations, running, count, seed)
        allowed = problem.feasible(proposed).without(problem, tried).points
        chosen += [(point, algorithm) for point in allowed[:count]]
    if count and not chosen:
        chosen = [(point, "sobol") for point in _sobol(problem, observations, running, count, seed)]
    return chosen
