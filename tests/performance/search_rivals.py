"""Searches by other packages on the problems of tests/helpers/search_problems.py, each from the same first points as
ours."""

import time
import warnings

from benchmark.search import sampling
from benchmark.search.problem import Observation
from tests.helpers.search_problems import Solved, hypervolume_share, solve

OURS = "ax"
# Algorithms of this repository, and rivals.
NAMES = (OURS, "ax_default", "optuna_gp", "optuna_tpe", "nsga2", "sobol", "random")


def run(name, known, seed, budget, initial):
    """Solves a problem; of Optuna's samplers and Ax as it is, too.

    All begin with the points of `sampling.design`. A point that a rival proposes again counts as an evaluation.
    """
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)
    if name in (OURS, "nsga2"):
        if name == OURS:
            from benchmark.search import ax_search

            ax_search.preload()
        return solve(known, name, seed, budget, initial)
    starts = sampling.design(known.problem, seed, initial)
    if name in ("random", "sobol"):
        order = getattr(sampling, f"{name}_order")(known.problem, seed)
        points = iter([*starts, *(p for p in order if p not in starts)])
        return _evaluated(known, budget, lambda: next(points), lambda point, outcomes: None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return (_ax_default if name == "ax_default" else _optuna)(name, known, seed, budget, starts)


def _evaluated(known, budget, ask, tell):
    observations, shares, seconds = [], [], []
    while len(observations) < budget:
        begun = time.perf_counter()
        point = ask()
        seconds.append(time.perf_counter() - begun)
        outcomes = known.evaluate(point)
        tell(point, outcomes)
        observations.append(Observation(point, outcomes))
        shares.append(hypervolume_share(known, observations))
    return Solved(observations, shares, seconds)


def _values(problem, point, outcomes):
    described = problem.describe(point) or {}
    return [described[o.name] if o.known else outcomes[o.name][0] for o in problem.objectives]


def _ax_default(name, known, seed, budget, starts):
    """Ax's client as it is, with objective thresholds and outcome constraints; it learns a known objective too."""
    from benchmark.search import ax_search

    ax_search.preload()
    problem = known.problem
    client = ax_search.experiment(problem, [], [], seed)
    client.configure_generation_strategy(method="fast", initialization_budget=0, torch_device="cpu")
    waiting, numbers = list(starts), []

    def ask():
        if waiting:
            point = dict(waiting.pop(0))
            numbers.append(client.attach_trial(point))
            return point
        ((number, point),) = client.get_next_trials(max_trials=1).items()
        numbers.append(number)
        return point

    def tell(point, outcomes):
        values = dict(zip((o.name for o in problem.objectives), _values(problem, point, outcomes), strict=True))
        limits = {c.name: outcomes[c.name][0] for c in problem.constraints}
        client.complete_trial(numbers[-1], raw_data={n: (v, 0.0) for n, v in {**values, **limits}.items()})

    return _evaluated(known, budget, ask, tell)


def _optuna(name, known, seed, budget, starts):
    """Optuna's samplers: listed values by their places, in order; a known objective is one more that is observed."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    problem = known.problem

    def excesses(trial):
        return trial.user_attrs["excesses"]

    limits = {"constraints_func": excesses} if problem.constraints else {}
    if name == "optuna_gp":
        sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=len(starts), **limits)
    else:
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=len(starts), multivariate=True, **limits)
    study = optuna.create_study(directions=["minimize"] * len(problem.objectives), sampler=sampler)
    for point in starts:
        study.enqueue_trial(
            {f.name: point[f.name] if f.bounds else f.values.index(point[f.name]) for f in problem.fields}
        )
    space = {
        f.name: optuna.distributions.FloatDistribution(*f.bounds)
        if f.bounds
        else optuna.distributions.IntDistribution(0, len(f.values) - 1)
        for f in problem.fields
    }
    asked = []

    def proposed():
        asked.append(study.ask(space))
        found = asked[-1].params
        return {f.name: found[f.name] if f.bounds else f.values[found[f.name]] for f in problem.fields}

    def ask():
        point, refused = proposed(), 0
        # Combinations that do not exist cost nothing; a sampler that insists on one goes on from a random point.
        while problem.describe(point) is None:
            study.tell(asked[-1], state=optuna.trial.TrialState.FAIL)
            refused += 1
            if refused == 20:
                start = next(iter(sampling.random_order(problem, len(asked))))
                study.enqueue_trial({f.name: f.values.index(start[f.name]) for f in problem.fields})
            point = proposed()
        return point

    def tell(point, outcomes):
        over = [(-1 if c.at_least else 1) * (outcomes[c.name][0] - c.bound) for c in problem.constraints]
        asked[-1].set_user_attr("excesses", over)
        study.tell(asked[-1], _values(problem, point, outcomes))

    return _evaluated(known, budget, ask, tell)
