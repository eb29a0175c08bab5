"""NSGA-II (Deb and others 2002) by pymoo, the usual evolutionary rival. The only importer of pymoo."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.search import sampling
from tasks.system.errors import StageError

if TYPE_CHECKING:
    from benchmark.search.problem import Field, Observation, Point, Problem, Value

POPULATION = 10
# Generations of offspring that are drawn for one suggestion before it is given up.
_ATTEMPTS = 20


def suggest(
    problem: Problem, observations: Sequence[Observation], running: Sequence[Point], count: int, seed: int
) -> list[Point]:
    """Proposes offspring of the surviving points; before there is a first population, points of a Sobol sequence.

    Each `POPULATION` observations are one generation, in their order; survivors follow from them alone. A suggestion
    that is asked for within a generation is the next of the same offspring.

    Args:
        problem: the problem.
        observations: the evaluated points; at least one that did not fail.
        running: points that are still evaluated; none of them is proposed again.
        count: points wanted.
        seed: seed of the search.

    Returns:
        At most `count` feasible points that were never tried.

    Raises:
        StageError: pymoo is not installed.
    """
    try:
        from pymoo.algorithms.moo.nsga2 import NSGA2, RankAndCrowdingSurvival
        from pymoo.core.evaluator import Evaluator
        from pymoo.core.population import Population
        from pymoo.core.problem import Problem as PymooProblem
        from pymoo.problems.static import StaticProblem
    except ImportError:
        raise StageError("SearchConfig.algorithm = 'nsga2' needs pymoo: pip install pymoo==0.6.2") from None

    tried = {problem.key(p) for p in (*(o.point for o in observations), *running)}
    done = [o for o in observations if not o.failed]
    if len(done) < POPULATION:
        order = (p for p in sampling.sobol_order(problem, seed) if problem.key(p) not in tried)
        return list(itertools.islice(order, count))
    dimensions = len(problem.fields)
    space = PymooProblem(
        n_var=dimensions, n_obj=len(problem.objectives), n_ieq_constr=len(problem.constraints), xl=0.0, xu=1.0
    )
    generation = len(done) // POPULATION
    rng = np.random.default_rng((seed, generation))
    survivors: Any = None
    for start in range(0, generation * POPULATION, POPULATION):
        block = done[start : start + POPULATION]
        x = np.array([[_share(f, o.point[f.name]) for f in problem.fields] for o in block])
        values = StaticProblem(space, F=_objectives(problem, block), G=_excesses(problem, block))
        born = Evaluator().eval(values, Population.new("X", x))
        merged = born if survivors is None else Population.merge(survivors, born)
        survivors = RankAndCrowdingSurvival().do(space, merged, n_survive=POPULATION, random_state=rng)
    algorithm = NSGA2(pop_size=POPULATION, sampling=survivors)
    algorithm.setup(space, seed=int(rng.integers(2**31)), verbose=False)
    algorithm.tell(infills=algorithm.ask())
    chosen: list[Point] = []
    for _ in range(_ATTEMPTS):
        for row in algorithm.ask().get("X"):
            point = {f.name: f.value_at(min(float(u), 1 - 1e-9)) for f, u in zip(problem.fields, row, strict=True)}
            if problem.key(point) not in tried and problem.feasible([point]).points:
                tried.add(problem.key(point))
                chosen.append(point)
        if len(chosen) >= count:
            break
    return chosen[:count]


def _share(field: Field, value: Value) -> float:
    """Returns the place of a value in a field's range, the inverse of `Field.value_at`; for a listed one the middle."""
    if field.bounds is not None:
        return (float(value) - field.bounds[0]) / (field.bounds[1] - field.bounds[0])
    return (field.values.index(value) + 0.5) / len(field.values)


def _objectives(problem: Problem, observations: Sequence[Observation]) -> np.ndarray:
    rows = []
    for observation in observations:
        known = problem.describe(observation.point) or {}
        values = [known[o.name] if o.known else observation.outcomes[o.name][0] for o in problem.objectives]
        rows.append([-v if o.maximize else v for o, v in zip(problem.objectives, values, strict=True)])
    return np.array(rows)


def _excesses(problem: Problem, observations: Sequence[Observation]) -> np.ndarray:
    """Returns by how much each constraint is violated, `[observations, constraints]`; at most 0 where it holds."""
    rows = [[o.outcomes[c.name][0] - c.bound for c in problem.constraints] for o in observations]
    signs = np.array([-1.0 if c.at_least else 1.0 for c in problem.constraints])
    return np.array(rows).reshape(len(observations), len(signs)) * signs
