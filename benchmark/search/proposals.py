"""The choice of the next architectures, and the end of a search on a plateau."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from benchmark.search import algorithms, halving, pareto
from benchmark.search.problem import Observation
from benchmark.search.space import encode

if TYPE_CHECKING:
    from benchmark.config import SearchConfig
    from benchmark.search.architectures import Architectures
    from benchmark.search.journal import Trial

# Points beyond those wanted that get an exact latency, and rounds after which only exact ones are candidates.
_SHORTLIST, _SHORTLISTS = 3, 8


def next_points(
    config: SearchConfig, architectures: Architectures, trials: list[Trial], seed: int, count: int
) -> list[tuple[dict[str, int], str]]:
    """Chooses the next points from the trials so far; a pure function of its arguments.

    No point is chosen by a quick estimate of its latency: the exact one is computed and the choice repeated, until all
    chosen ones are exact. Where that is a measurement the choice is repeated only if one of them is too slow. Of these
    only the latencies of tried points are used later, so that a search that was killed chooses as an undisturbed one.

    Args:
        config: algorithm and budget.
        architectures: the space and its known latencies.
        trials: all trials so far, running ones included.
        seed: seed of the search.
        count: points wanted.

    Returns:
        Up to `count` pairs of a point and its generator: `attach`, or as `algorithms.suggest` returns it. The list is
        empty when every feasible point was tried.
    """
    tried = [t.point for t in trials]
    attached = [p for p in (encode(config.space, e) for e in config.attach) if p not in tried]
    if attached:
        return [({n: int(v) for n, v in point.items()}, "attach") for point in attached[:count]]
    observations = observed(config, trials)
    running = [t.point for t in trials if t.status == "running"]
    exact = {architectures.key(t.point): t.result["latency_s"] for t in trials if t.result.get("latency_s")}
    exact |= architectures.exact(running)
    for attempt in itertools.count():
        only_exact = attempt == _SHORTLISTS
        problem = architectures.problem(exact, only_exact)
        asked = count if architectures.quick_is_exact or architectures.measured else count + _SHORTLIST
        chosen = algorithms.suggest(
            config.algorithm, problem, observations, running, asked, seed, config.num_initial_trials
        )
        all_exact = all(architectures.key(point) in exact for point, _ in chosen[:count]) and (chosen or not only_exact)
        if not architectures.quick_is_exact and not all_exact:
            points = [point for point, _ in chosen]
            exact |= architectures.exact(points)
            fast_enough = bool(points) and len(architectures.problem(exact).feasible(points).points) == len(points)
            if not (architectures.measured and fast_enough):
                continue
        return [({n: int(v) for n, v in point.items()}, generator) for point, generator in chosen[:count]]
    raise AssertionError("an endless loop ended")


def observed(config: SearchConfig, trials: list[Trial]) -> list[Observation]:
    """Returns the trials that ended as observations of the objective, in their order; a failed one has no outcome."""
    outcomes = halving.outcomes(config, trials)
    return [
        Observation(t.point, {config.outcome: outcomes[t.number]} if t.number in outcomes else {})
        for t in trials
        if t.status != "running"
    ]


def on_plateau(config: SearchConfig, trials: list[Trial]) -> bool:
    """Returns True where the last `plateau_trials` trials, none of them initial, raised the hypervolume too little."""
    before = len(trials) - config.plateau_trials
    if not config.plateau_trials or before < config.num_initial_trials:
        return False

    def volume(some: list[Trial]) -> float:
        pairs = [(t.result[config.outcome], t.result["latency_s"]) for t in some if t.status == "completed"]
        return pareto.hypervolume(pairs, config.accuracy_threshold, config.latency_threshold_s)

    return volume(trials) - volume(trials[:before]) < config.plateau_gain
