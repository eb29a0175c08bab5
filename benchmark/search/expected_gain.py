"""Expected hypervolume improvement where one objective is learnt and the other is known exactly.

With latency known, the improvement of a candidate is a function of its error alone. The front is a staircase over the
known gain. From 0 up to the candidate's own gain, each step adds its width times the candidate's lead over the step's
error. The expectation under the posterior of the error is a sum over the steps in closed form: the width times the
expected improvement (Jones and others 1998) over the step. No sampling is needed, so all points of a space are scored.

Errors (distance from the best value there could be) are modelled as `floor + exp(Gaussian process)`, as scaling laws
have it. The floor is not known: a few shares of the smallest observed error are tried, and weighted by their evidence.

Scores depend continuously on the observations and on rounding; the choice of the largest one does not. So scores that
differ by no more than rounding count as equal, and the points' hashes decide among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr
from threadpoolctl import threadpool_limits

from benchmark.search import gaussian_process, sampling
from benchmark.search.problem import Objective, Observation, Point, Pool, Problem, Value, point_hash

_FLOORS = (0.0, 0.4, 0.7, 0.9)
# A floor of a smaller weight is not worth its time. It is subtracted from every weight, so that weights fall to 0
# continuously.
_WEIGHT = 1e-3
# Scores are equal where they differ by less than half of this share of the largest one plus half of `_RESOLUTION` of
# the hypervolume of an error of 0 at the largest known gain. The second term is for late suggestions: scores are
# differences of numbers of that size, and rounding takes their last digits.
PRECISION, _RESOLUTION = 1e-6, 1e-12


def applies(problem: Problem) -> bool:
    """Returns True where the closed form holds: one known objective, one learnt, and no constraint."""
    return sorted(o.known for o in problem.objectives) == [False, True] and not problem.constraints


def front_staircase(gains: np.ndarray, errors: np.ndarray, worst: float) -> tuple[np.ndarray, np.ndarray]:
    """Builds the front as a staircase over the known gain.

    Args:
        gains: known gains of the points `[n]`, at least 0.
        errors: their errors `[n]`.
        worst: reference point; errors from here on gain nothing.

    Returns:
        Edges `[k + 1]` from 0 to infinity, and for each step between two of them the smallest error of a point that
        gains at least as much, `[k]`, which rises.
    """
    # From the largest gain down, a point starts a step only if its error beats all errors before it.
    order = np.lexsort((errors, -gains))
    edges, step_errors, best = [np.inf], [], worst
    for gain, error in zip(gains[order], errors[order], strict=True):
        if error < best and gain > 0:
            if gain < edges[-1]:
                step_errors.append(best)
                edges.append(gain)
            best = error
    return np.array([0.0, *edges[::-1]]), np.array([best, *step_errors[::-1]])


def expected_gain(
    mean: np.ndarray,
    deviation: np.ndarray,
    gains: np.ndarray,
    staircase: tuple[np.ndarray, np.ndarray],
    floor: float | None,
) -> np.ndarray:
    """Computes the expected hypervolume improvement of each candidate, `[n]`.

    Args:
        mean: mean `[n]` of the Gaussian.
        deviation: its standard deviation `[n]`.
        gains: known gains of the candidates `[n]`.
        staircase: result of `front_staircase`.
        floor: the error is `floor + exp(Gaussian)`; None where it is the Gaussian itself.
    """
    edges, step_errors = staircase
    # [n, k]: the part of each step's width that lies below the candidate's gain.
    width = np.clip(gains[:, None] - edges[None, :-1], 0.0, np.diff(edges)[None])
    if floor is None:
        # E[max(step_error - error, 0)] of a Gaussian error: expected improvement, with z-scores [n, k].
        z = (step_errors[None] - mean[:, None]) / deviation[:, None]
        density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
        improvement = deviation[:, None] * (z * ndtr(z) + density)
    else:
        # The same of a log-normal error above the floor, as in the price of a put option (Black and Scholes 1973).
        headroom = np.maximum(step_errors - floor, 1e-300)[None]
        z = (np.log(headroom) - mean[:, None]) / deviation[:, None]
        expected = np.exp(mean + 0.5 * deviation**2)[:, None]
        improvement = np.maximum(headroom * ndtr(z) - expected * ndtr(z - deviation[:, None]), 0.0)
    total: np.ndarray = (width * improvement).sum(1)
    return total


@dataclass(frozen=True)
class _Model:
    """One floor: the process of the errors above it, and its weight among the floors."""

    process: gaussian_process.GaussianProcess
    floor: float | None
    weight: float

    def errors(self, x: np.ndarray) -> np.ndarray:
        """Predicts the median error at points `[m, features]`."""
        mean = self.process.predict(x)[0]
        return mean if self.floor is None else self.floor + np.exp(mean)

    def leave_one_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Predicts mean and standard deviation of the error at each observed point from the others."""
        mean, deviation = self.process.leave_one_out()
        if self.floor is None:
            return mean, deviation
        # Moments of the log-normal distribution.
        expected = np.exp(mean + 0.5 * deviation**2)
        return self.floor + expected, expected * np.sqrt(np.expm1(deviation**2))


def _models(x: np.ndarray, errors: np.ndarray, stderr: np.ndarray, positive: bool) -> list[_Model]:
    if not positive:
        return [_Model(gaussian_process.fit(x, errors, stderr), None, 1.0)]
    smallest = max(float(errors.min()), 1e-9)
    fitted, evidence, start = [], [], None
    for share in _FLOORS:
        above = np.maximum(errors - share * smallest, 1e-9)
        process = gaussian_process.fit(x, np.log(above), stderr / above, start)
        start = process.logs
        fitted.append((process, share * smallest))
        # Densities of the logarithms become densities of the errors, which alone can be compared.
        evidence.append(process.log_evidence - np.log(above).sum())
    weights = np.exp(np.array(evidence) - max(evidence))
    shares = weights / weights.sum() - _WEIGHT
    return [_Model(process, floor, float(w)) for (process, floor), w in zip(fitted, shares, strict=True) if w > 0]


def choose_best(scores: np.ndarray, points: Sequence[Point], scale: float) -> int:
    """Returns the index of the largest score; of scores equal but for rounding, that of the smallest hash.

    Args:
        scores: one for each point, at least 0; less for those that may not be chosen.
        points: the points, each once.
        scale: size of the numbers of which the scores are differences.
    """
    # A score that cannot be computed counts as none.
    scores = np.nan_to_num(scores, nan=0.0)
    largest = float(scores.max())
    tolerance = 0.5 * (PRECISION * largest + _RESOLUTION * scale)
    equal = np.flatnonzero((scores >= largest - tolerance) & (scores >= 0.0))
    return min(map(int, equal), key=lambda i: point_hash(points[i]))


def suggest(
    problem: Problem, observations: Sequence[Observation], running: Sequence[Point], count: int, seed: int
) -> list[Point]:
    """Chooses the points of largest expected improvement, one after the other.

    Each choice counts as observed at its predicted error when the next is made ("kriging believer", Ginsbourger and
    others 2010).

    Args:
        problem: one that `applies`.
        observations: the evaluated points; at least one that did not fail.
        running: points that are still evaluated; they count as observed at their predicted error.
        count: points wanted.
        seed: seeds the sample of a space that is too large to be enumerated.

    Returns:
        At most `count` points that were never tried.
    """
    # More threads make matrices as small as these slower, many times so on a busy machine.
    with threadpool_limits(1):
        return _suggest(problem, observations, running, count, seed)


def _suggest(
    problem: Problem, observations: Sequence[Observation], running: Sequence[Point], count: int, seed: int
) -> list[Point]:
    learnt, known = sorted(problem.objectives, key=lambda o: o.known)
    done = [o for o in observations if not o.failed]
    tried = [*(o.point for o in observations), *running]
    pool = candidates(problem, done, tried, seed)
    observed, outcomes = _observed(problem, done, learnt)
    pending = problem.described(running)
    if not pool.points or not len(outcomes):
        return list(pool.points[:count])
    errors, worst = _errors(learnt, outcomes[:, 0]), float(_errors(learnt, learnt.threshold))
    # Coordinates: observed points x [n, features], `candidate_x` [m, features], `running_x`.
    x, candidate_x, running_x = (problem.features(p.points) if p.points else None for p in (observed, pool, pending))
    assert x is not None and candidate_x is not None
    gains = known.gain(pool.known[known.name])
    front_gains = known.gain(observed.known[known.name])
    models = _models(x, errors, outcomes[:, 1], learnt.best is not None)
    # Noise makes the best of many look better than it is, so the front is that of the smoothed errors.
    fronts = [m.errors(x) if outcomes[:, 1].any() else errors for m in models]
    if running_x is not None:
        front_gains = np.concatenate([front_gains, known.gain(pending.known[known.name])])
        fronts = [np.concatenate([f, m.errors(running_x)]) for f, m in zip(fronts, models, strict=True)]
        models = [_Model(m.process.condition_on_mean(running_x), m.floor, m.weight) for m in models]
    scale = float(gains.max()) * (abs(worst) if learnt.best is not None else float(np.ptp([*errors, worst])))
    chosen: list[int] = []
    while len(chosen) < min(count, len(pool.points)):
        # [m]: expected improvement over the front so far, averaged over the floors.
        score = np.zeros(len(pool.points))
        for model, front in zip(models, fronts, strict=True):
            mean, deviation = model.process.predict(candidate_x)
            staircase = front_staircase(front_gains, front, worst)
            score += model.weight * expected_gain(mean, deviation, gains, staircase, model.floor)
        score[chosen] = -1.0
        best = choose_best(score, pool.points, scale)
        chosen.append(best)
        row = candidate_x[best : best + 1]
        front_gains = np.append(front_gains, gains[best])
        fronts = [np.append(f, m.errors(row)) for f, m in zip(fronts, models, strict=True)]
        models = [_Model(m.process.condition_on_mean(row), m.floor, m.weight) for m in models]
    return [pool.points[i] for i in chosen]


def leave_one_out(
    problem: Problem, observations: Sequence[Observation]
) -> dict[tuple[Value, ...], tuple[float, float]]:
    """Predicts each observed point from the others, with hyperparameters fitted to all.

    Args:
        problem: one that `applies`.
        observations: the evaluated points; at least two that did not fail.

    Returns:
        Mean and standard deviation of the learnt objective, noise apart, by the point's key.
    """
    learnt, _ = sorted(problem.objectives, key=lambda o: o.known)
    observed, outcomes = _observed(problem, [o for o in observations if not o.failed], learnt)
    errors = _errors(learnt, outcomes[:, 0])
    with threadpool_limits(1):
        models = _models(problem.features(observed.points), errors, outcomes[:, 1], learnt.best is not None)
        moments = [model.leave_one_out() for model in models]
    weights = np.array([m.weight for m in models]) / sum(m.weight for m in models)
    # Moments of the mixture over the floors.
    mean = sum(w * m for w, (m, _) in zip(weights, moments, strict=True))
    square = sum(w * (d**2 + (m - mean) ** 2) for w, (m, d) in zip(weights, moments, strict=True))
    turned = mean + (0.0 if learnt.best is None else -learnt.best if learnt.maximize else learnt.best)
    values, deviations = (-turned if learnt.maximize else turned), np.sqrt(square)
    return {problem.key(p): (float(v), float(d)) for p, v, d in zip(observed.points, values, deviations, strict=True)}


def _observed(problem: Problem, done: Sequence[Observation], learnt: Objective) -> tuple[Pool, np.ndarray]:
    """Returns the observed points, and mean and standard error of the learnt objective, `[points, 2]`.

    The last observation of a point counts. Invalid points are left out.
    """
    observed = problem.described(o.point for o in done)
    rows = {problem.key(o.point): o.outcomes[learnt.name] for o in done}
    return observed, np.array([rows[problem.key(p)] for p in observed.points])


def _errors(objective: Objective, values: np.ndarray | float) -> np.ndarray:
    """Returns distances from the best value, or where there is none the values signed so that less is better."""
    turned = -np.asarray(values, float) if objective.maximize else np.asarray(values, float)
    if objective.best is None:
        return turned
    return turned - (-objective.best if objective.maximize else objective.best)


def candidates(problem: Problem, done: Sequence[Observation], tried: Sequence[Point], seed: int) -> Pool:
    """Returns all untried points; of a space too large for that, a sample and the neighbours of the front."""
    if problem.enumerable:
        return problem.pool.without(problem, tried)
    centres = [o.point for o in done if _is_non_dominated(problem, o, done)]
    points = sampling.neighbours(problem, centres, seed) + sampling.sobol_points(problem, seed, sampling.SAMPLE)
    return problem.feasible(points).without(problem, tried)


def _is_non_dominated(problem: Problem, one: Observation, done: Sequence[Observation]) -> bool:
    """Returns True where no other observation dominates this one."""

    def values(observation: Observation) -> list[float]:
        known = problem.describe(observation.point) or {}
        return [
            (1 if o.maximize else -1) * (known[o.name] if o.known else observation.outcomes[o.name][0])
            for o in problem.objectives
            if not o.known or o.name in known
        ]

    own = values(one)
    return not any(
        all(a >= b for a, b in zip(values(o), own, strict=False)) and values(o) != own for o in done if o is not one
    )
