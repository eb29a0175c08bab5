"""Search algorithms: their proposals, their results on problems with known answers, the closed form."""

import dataclasses
import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.search import algorithms, expected_gain, gaussian_process, sampling
from benchmark.search.problem import Constraint, Field, Objective, Observation, Problem
from tasks.system.errors import StageError
from tests.helpers.search_problems import continuous, hypervolume_share, pairs, solve, toy_table, toy_transformer

SMALL = Problem(
    fields=(Field("a", (1, 2, 4, 8)), Field("b", (1, 2, 3)), Field("c", ("x", "y"), ordered=False)),
    objectives=(
        Objective("quality", 0.0, maximize=True, best=100.0),
        Objective("cost", 40.0, best=0.4, log=True, known=True),
    ),
    describe=lambda p: None if p["b"] == 3 and p["c"] == "y" else {"cost": float(p["a"]) * float(p["b"])},
)


def quality(point):
    return Observation(point, {"quality": (10.0 * math.log(1 + point["a"]) + point["b"], 0.1)})


# The closed form.

POINTS = st.lists(st.tuples(st.floats(0, 5), st.floats(0, 12)), max_size=8)


@given(points=POINTS)
def test_staircase_against_brute_force(points):
    gains = np.array([g for g, _ in points])
    errors = np.array([e for _, e in points])
    edges, levels = expected_gain.front_staircase(gains, errors, 10.0)
    assert edges[0] == 0 and edges[-1] == np.inf and (np.diff(edges) > 0).all()
    assert (np.diff(levels) >= 0).all()
    for low, high, level in zip(edges, edges[1:], levels, strict=False):
        middle = low + 1 if high == np.inf else (low + high) / 2
        assert level == min([e for g, e in points if g >= middle] + [10.0])


@pytest.mark.parametrize("floor", [None, 0.0, 3.0])
def test_expected_gain_against_monte_carlo(floor):
    # The area that a draw of the error adds, by the hypervolume of BoTorch, averaged over many draws.
    import torch
    from botorch.utils.multi_objective.hypervolume import Hypervolume

    rng = np.random.default_rng(0)
    front_gains, front_errors = np.array([4.0, 2.5, 1.0]), np.array([9.0, 6.0, 4.0])
    worst = 11.0
    staircase = expected_gain.front_staircase(front_gains, front_errors, worst)
    gains = np.array([5.0, 3.0, 2.5, 0.7, 0.0])
    mean = np.array([8.0, 6.5, 5.0, 3.5, 1.0])
    deviation = np.array([1.0, 0.5, 2.0, 0.3, 1.0])
    if floor is not None:
        mean, deviation = np.log(mean), deviation / 5
    found = expected_gain.expected_gain(mean, deviation, gains, staircase, floor)
    volume = Hypervolume(torch.zeros(2, dtype=torch.double))

    def area(points):
        better = [[worst - e, g] for g, e in points if e < worst and g > 0]
        return volume.compute(torch.tensor(better, dtype=torch.double)) if better else 0.0

    front = list(zip(front_gains, front_errors, strict=True))
    for i, gain in enumerate(gains):
        draws = mean[i] + deviation[i] * rng.standard_normal(1000)
        errors = draws if floor is None else floor + np.exp(draws)
        added = [area([*front, (gain, e)]) - area(front) for e in errors]
        assert found[i] == pytest.approx(np.mean(added), abs=4 * np.std(added) / math.sqrt(len(added)) + 1e-9)


def test_certain_errors_give_the_exact_gain():
    staircase = expected_gain.front_staircase(np.array([2.0]), np.array([5.0]), 10.0)
    gain = expected_gain.expected_gain(np.array([4.0]), np.array([1e-9]), np.array([3.0]), staircase, None)
    # Up to 2 it is ahead of the front's 5 by 1, from 2 to 3 of the reference's 10 by 6.
    assert gain[0] == pytest.approx(2 * 1 + 1 * 6)


# The Gaussian process.


def rows(seed, count=15, features=3):
    rng = np.random.default_rng(seed)
    x = rng.random((count, features)) - 0.5
    return x, np.sin(3 * x[:, 0]) + x[:, 1] ** 2 + 2 * x[:, 2]


@pytest.mark.parametrize("seed", [0, 1])
def test_gradient_of_the_posterior(seed):
    from scipy.optimize import check_grad

    x, y = rows(seed)
    noise = np.full(len(y), 0.01)
    for logs in np.random.default_rng(seed).normal(0, 0.7, (3, x.shape[1] + 3)):

        def value(v):
            return gaussian_process.negative_log_posterior(v, x, y, noise)[0]

        def gradient(v):
            return gaussian_process.negative_log_posterior(v, x, y, noise)[1]

        assert check_grad(value, gradient, logs) < 1e-3 * (1 + np.abs(gradient(logs)).max())


def test_prediction_against_scikit_learn():
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern

    x, values = rows(0)
    stderr = np.linspace(0.0, 0.2, len(values))
    process = gaussian_process.fit(x, values, stderr)
    *lengths, matern, linear, nugget = np.exp(process.logs)
    kernel = ConstantKernel(matern) * Matern(lengths, nu=2.5) + ConstantKernel(linear) * DotProduct(0.0)
    noise = nugget + (stderr / process.spread) ** 2 + 1e-8
    peer = GaussianProcessRegressor(kernel, alpha=noise, optimizer=None).fit(
        x, (values - process.centre) / process.spread
    )
    at = rows(1)[0]
    mean, deviation = peer.predict(at, return_std=True)
    found_mean, found_deviation = process.predict(at)
    np.testing.assert_allclose(found_mean, process.centre + process.spread * mean, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found_deviation, process.spread * deviation, rtol=1e-4)
    # The likelihood too, once the priors are taken from it.
    away = process.log_evidence + len(values) * math.log(process.spread)
    prior_mean, prior_deviation = gaussian_process._prior(x.shape[1])
    prior = 0.5 * (((process.logs - prior_mean) / prior_deviation) ** 2).sum()
    assert away + prior == pytest.approx(peer.log_marginal_likelihood_value_, rel=1e-6)


def test_conditioning_on_the_mean_keeps_it_and_shrinks_the_uncertainty():
    x, values = rows(0)
    process = gaussian_process.fit(x, values, np.zeros(len(values)))
    new, at = rows(2, 2)[0], rows(1)[0]
    before, after = process.predict(at), process.condition_on_mean(new).predict(at)
    np.testing.assert_allclose(after[0], before[0], atol=1e-3 * process.spread)
    assert (after[1] <= before[1] + 1e-9).all()
    # The fit keeps a nugget, 0.04 to 0.31 of the deviation over many seeds; without it nothing shrinks.
    assert process.condition_on_mean(new).predict(new)[1].max() < 0.6 * process.predict(new)[1].max()


# Problems.


def test_pool_holds_each_valid_useful_point_once():
    keys = [SMALL.key(p) for p in SMALL.pool.points]
    assert len(keys) == len(set(keys)) == 4 * (3 + 2)
    tight = dataclasses.replace(SMALL, objectives=(SMALL.objectives[0], Objective("cost", 8.0, log=True, known=True)))
    assert {SMALL.key(p) for p in tight.pool.points} == {k for k in keys if k[0] * k[1] < 8}
    # A value that is not listed is no point, though it can be described.
    assert not SMALL.feasible([{"a": 3, "b": 1, "c": "x"}]).points
    assert Problem((Field("x", bounds=(0.0, 1.0)),), SMALL.objectives).size == math.inf


@given(value=st.floats(0.1, 100))
def test_gains(value):
    cost = Objective("cost", 40.0, best=0.4, log=True)
    expected = min(max(math.log(40 / value), 0.0), math.log(100))
    assert float(cost.gain(value)) == pytest.approx(expected, abs=1e-12)
    assert float(Objective("q", 3.0, maximize=True, best=50.0).gain(value)) == pytest.approx(min(max(value - 3, 0), 47))
    assert float(Objective("q", 3.0).gain(value)) == pytest.approx(max(3 - value, 0))


def test_features_are_evenly_spaced_by_ratio():
    x = SMALL.features([{"a": a, "b": 1, "c": "x"} for a in (1, 2, 4, 8)])
    assert x.shape == (4, 1 + 1 + 2)
    np.testing.assert_allclose(x[:, 0], np.linspace(-0.5, 0.5, 4))
    assert Field("x", bounds=(2.0, 6.0)).features([2.0, 4.0, 6.0])[:, 0].tolist() == [-0.5, 0.0, 0.5]


def test_design_stands_along_the_known_objective():
    known = toy_transformer()
    table = toy_table()
    latencies = sorted(v for _, v in table.values())
    for seed in range(3):
        points = sampling.design(known.problem, seed, 5)
        found = [table[known.problem.key(p)][1] for p in points]
        width = (known.problem.objectives[1].threshold - latencies[0]) / 5
        strata = [min(int((v - latencies[0]) / width), 4) for v in found]
        assert strata == sorted(strata) and len(set(strata)) >= 4
        assert points == sampling.design(known.problem, seed, 5)
    assert sampling.design(known.problem, 0, 5) != sampling.design(known.problem, 1, 5)
    # More than there are, and without a known objective.
    assert len(sampling.design(SMALL, 0, 99)) == 20
    assert len(sampling.design(toy_transformer(latency_known=False).problem, 0, 7)) == 7


# The interface.


@pytest.mark.parametrize("name", algorithms.ALGORITHMS)
def test_every_algorithm_tries_all_points_once(name):
    observations = []
    while chosen := algorithms.suggest(name, SMALL, observations, [], 3, 7, 4):
        assert len(chosen) <= 3
        # Equal arguments give equal points.
        if len(observations) < 8:
            assert chosen == algorithms.suggest(name, SMALL, list(observations), [], 3, 7, 4)
        # One that failed is never tried again.
        observations += [quality(p) if p["a"] != 4 else Observation(p) for p, _ in chosen]
    keys = [SMALL.key(o.point) for o in observations]
    assert sorted(keys) == sorted(SMALL.key(p) for p in SMALL.pool.points)
    if name == "exhaustive":
        assert keys == [SMALL.key(p) for p in SMALL.pool.points]


@pytest.mark.parametrize("name", algorithms.ALGORITHMS)
def test_running_points_are_not_proposed(name):
    observations = [quality(p) for p in SMALL.pool.points[:8]]
    running = list(SMALL.pool.points[8:11])
    chosen = [SMALL.key(p) for p, _ in algorithms.suggest(name, SMALL, observations, running, 4, 0, 4)]
    assert 1 <= len(chosen) == len(set(chosen)) <= 4
    assert not set(chosen) & {SMALL.key(p) for p in [*running, *(o.point for o in observations)]}


def test_design_comes_first_and_attached_points_count():
    first = algorithms.suggest("ax", SMALL, [], [], 9, 0, 4)
    assert [name for _, name in first] == ["design"] * 4
    assert {name for _, name in algorithms.suggest("ax", SMALL, [quality(SMALL.pool.points[0])] * 2, [], 9, 0, 4)} == {
        "design"
    }
    # All failed: there is nothing to learn from.
    failed = [Observation(p) for p, _ in first]
    assert {name for _, name in algorithms.suggest("ax", SMALL, failed, [], 2, 0, 4)} == {"sobol"}


def test_a_space_too_large_to_enumerate():
    fields = tuple(Field(f"f{i}", tuple(range(1, 11))) for i in range(6))

    def describe(point):
        total = sum(point.values())
        return {"cost": float(total)} if point["f0"] <= point["f1"] else None

    problem = Problem(
        fields, (Objective("error", 100.0, best=0.0), Objective("cost", 50.0, known=True)), describe=describe
    )
    assert not problem.enumerable
    observations = [Observation(p, {"error": (90.0 - sum(p.values()), 1.0)}) for p in sampling.design(problem, 0, 6)]
    chosen = algorithms.suggest("ax", problem, observations, [], 2, 0, 4)
    assert [name for _, name in chosen] == ["ax"] * 2
    assert all(describe(p) is not None for p, _ in chosen)
    assert chosen == algorithms.suggest("ax", problem, observations, [], 2, 0, 4)
    with pytest.raises(StageError, match="at most 20000"):
        algorithms.suggest("exhaustive", problem, [], [], 1, 0)
    for name in ("random", "sobol"):
        assert len(algorithms.suggest(name, problem, observations, [], 3, 0)) == 3


def test_noise_does_not_lead_the_search_astray():
    # One observation was lucky by four standard errors; its neighbours say so, and the front is that of the model.
    problem = Problem(
        (Field("a", tuple(range(1, 41))),),
        (Objective("error", 60.0, best=0.0), Objective("cost", 41.0, known=True)),
        describe=lambda p: {"cost": float(p["a"])},
    )
    truth = {a: 50 - 20 * a / 40 for a in range(1, 41)}
    tried = [1, 5, 10, 14, 15, 16, 20, 25, 30, 35, 40]
    lucky = [Observation({"a": a}, {"error": (truth[a] - (8 if a == 15 else 0), 2.0)}) for a in tried]
    x = problem.features([o.point for o in lucky])
    values = np.array([o.outcomes["error"] for o in lucky])
    models = expected_gain._models(x, values[:, 0], values[:, 1], True)
    believed = sum(m.weight * m.errors(problem.features([{"a": 15}]))[0] for m in models)
    assert believed == pytest.approx(truth[15], abs=2.5)


# Results.


def test_toy_transformer_reaches_the_target():
    table = toy_table()
    assert len(table) == 2400
    known = toy_transformer()
    everything = [Observation(p, known.evaluate(p)) for p in known.problem.pool.points]
    assert hypervolume_share(known, everything) == pytest.approx(1.0, abs=1e-9)
    solved = [solve(known, "ax", seed, 25, 4) for seed in (0, 1)]
    for run in solved:
        assert len({known.problem.key(o.point) for o in run.observations}) == 25
    # Ten other seeds: 0.986 to 0.993, deviation 0.002; forty random searches: 0.79 to 0.92, deviation 0.04.
    assert statistics.median(run.shares[-1] for run in solved) >= 0.98
    assert statistics.median(solve(known, "random", seed, 25, 4).shares[-1] for seed in range(5)) < 0.93


def test_batches_of_four_lose_little():
    known = toy_transformer()
    at_once = [solve(known, "ax", seed, 25, 4, at_once=4) for seed in (0, 1)]
    assert min(run.shares[-1] for run in at_once) >= 0.9 * 0.99
    for run in at_once:
        assert len({known.problem.key(o.point) for o in run.observations}) == 25


@pytest.mark.slow
def test_constraints_are_learnt_and_kept():
    known = continuous("constrained_branin_currin")
    run = solve(known, "ax", 1, 20, 10)
    kept = pairs(known.problem, run.observations)
    # Whatever breaks the limit counts nothing. The best points lie along it, so some tries still break it.
    slack = [o.outcomes["slack"][0] for o in run.observations]
    assert len(kept) == sum(s >= 0 for s in slack)
    assert any(s >= 0 for s in slack[10:]) and min(slack) < 0
    # Ten searches gain 0.17 to 0.48 after their design, and the same ten more points by chance 0.07 in the median.
    by_chance = [solve(known, "random", seed, 20, 10) for seed in range(9)]
    assert run.shares[-1] - run.shares[9] > 0.15 > statistics.median(r.shares[-1] - r.shares[9] for r in by_chance)


def test_constraint():
    assert Constraint("c", 2.0).holds(2.0) and not Constraint("c", 2.0).holds(2.1)
    assert Constraint("c", 2.0, at_least=True).holds(2.1) and not Constraint("c", 2.0, at_least=True).holds(1.9)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_small_space(data):
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    fields = tuple(Field(f"f{i}", tuple(range(1, n + 1))) for i, n in enumerate(sizes))
    seed = data.draw(st.integers(0, 100))
    problem = Problem(
        fields,
        (Objective("e", 50.0, best=0.0), Objective("t", 100.0, known=True)),
        describe=lambda p: {"t": sum(p.values())},
    )
    total = math.prod(sizes)
    for order in (sampling.sobol_order, sampling.random_order):
        keys = [problem.key(p) for p in order(problem, seed)]
        assert len(keys) == len(set(keys)) == total
    observations = [Observation(p, {"e": (20.0 + sum(p.values()), 0.0)}) for p in sampling.design(problem, seed, 2)]
    chosen = expected_gain.suggest(problem, observations, [], total, seed)
    assert len({problem.key(p) for p in chosen}) == len(chosen) == total - len(observations)
