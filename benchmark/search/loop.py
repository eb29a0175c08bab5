"""The trial loop: suggest, evaluate, write down, until the budget is spent."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from benchmark.config import EncoderConfig, SearchConfig, to_dict
from benchmark.errors import StageError
from benchmark.hardware.estimates import KnownLatency, LatencyFailure, known_latency
from benchmark.models.formulas import num_parameters
from benchmark.parallel import map_threads
from benchmark.search import algorithms, pareto
from benchmark.search.architectures import ACCURACY, Architectures
from benchmark.search.journal import Journal, Trial
from benchmark.search.problem import Observation, Point
from benchmark.search.space import architecture_hash, decode, encode, searched_fields

Evaluate = Callable[[EncoderConfig, int], dict[str, float]]
# How many points beyond those wanted get their exact latency, and after how many rounds the choice is among exact ones.
_SHORTLIST, _SHORTLISTS = 3, 8


def next_points(
    config: SearchConfig, architectures: Architectures, trials: list[Trial], seed: int, count: int
) -> list[tuple[Point, str]]:
    """Chooses the next points from the trials so far; a pure function of its arguments.

    No point is chosen by a latency that is only estimated quickly: the exact one is asked for, and the choice made
    again, until all chosen ones are exact. What was asked for is forgotten afterwards, save the tried points' own
    latencies, so that a search that was killed chooses as one that was not.

    Args:
        config: algorithm and budget.
        architectures: the space and its known latencies.
        trials: all trials so far; those that did not end are running.
        seed: seed of the search.
        count: points wanted.

    Returns:
        Up to `count` pairs of a point and who proposed it: `attach`, or what `algorithms.suggest` says. The list is
        empty when every feasible point was tried.
    """
    tried = [t.point for t in trials]
    attached = [p for p in (encode(config.space, e) for e in config.attach) if p not in tried]
    if attached:
        return [(point, "attach") for point in attached[:count]]
    observations = [
        Observation(
            t.point, {ACCURACY: (t.result["accuracy"], t.result["accuracy_stderr"])} if t.status == "completed" else {}
        )
        for t in trials
        if t.status != "running"
    ]
    running = [t.point for t in trials if t.status == "running"]
    exact = {architectures.key(t.point): t.result["latency_s"] for t in trials if t.result.get("latency_s")}
    exact |= architectures.exact(running)
    for attempt in itertools.count():
        only_exact = attempt == _SHORTLISTS
        problem = architectures.problem(exact, only_exact)
        asked = count if architectures.quick_is_exact else count + _SHORTLIST
        chosen = algorithms.suggest(
            config.algorithm, problem, observations, running, asked, seed, config.num_initial_trials
        )
        settled = all(architectures.key(point) in exact for point, _ in chosen[:count]) and (chosen or not only_exact)
        if architectures.quick_is_exact or settled:
            return [(dict(point), generator) for point, generator in chosen[:count]]
        exact |= architectures.exact([point for point, _ in chosen])
    raise AssertionError("an endless loop ended")


def run_search(
    config: SearchConfig,
    journal: Journal,
    evaluate: Evaluate,
    seed: int,
    progress: Callable[[str], None],
    latency: KnownLatency | None = None,
) -> list[Trial]:
    """Runs trials, `parallel_trials` at a time, until `num_trials` are done, continuing what the journal holds.

    Args:
        config: space, algorithm, budget.
        journal: where trials are written; trials that were running when an earlier process died are run again.
        evaluate: `(encoder, trial number) -> {"accuracy", "accuracy_stderr", ...}`; a raised RuntimeError, or a
            value that is not finite, is a failed trial.
        seed: seeds the initial design and the suggestions.
        progress: receives progress lines.
        latency: the known objective; by default one that keeps nothing on disk.

    Returns:
        All trials.

    Raises:
        StageError: no point of the space is feasible.
    """
    latency = latency or known_latency(config, None, progress)
    architectures = Architectures(config, latency)
    problem = architectures.problem({})
    if problem.enumerable and not problem.pool.points and not config.attach:
        raise StageError("SearchConfig.space: no valid point meets latency_threshold_s and max_parameters")
    size = str(len(problem.pool.points)) if problem.enumerable else f"up to {problem.size:.0f}"
    progress(f"search: {size} feasible architectures, {config.num_trials} trials by {config.algorithm}")
    if config.algorithm == "ax" and len(journal.trials) < config.num_trials:
        from benchmark.search import ax_search

        threading.Thread(target=ax_search.preload, daemon=True).start()
    while True:
        running = [t for t in journal.trials if t.status == "running"]
        if not running:
            wanted = min(config.parallel_trials, config.num_trials - len(journal.trials))
            if wanted > 0 and on_plateau(config, journal.trials):
                count = len(journal.trials)
                progress(f"search: ends after {count} trials, the last {config.plateau_trials} gained little")
                return journal.trials
            asked = time.perf_counter()
            choices = next_points(config, architectures, journal.trials, seed, wanted) if wanted > 0 else []
            if not choices:
                return journal.trials
            seconds = (time.perf_counter() - asked) / len(choices)
            running = journal.start(choices)
            for trial in running:
                trial.result = {"suggest_seconds": seconds}
        # Ends are written in the order of the trials, so that equal searches give equal journals.
        outcomes = map_threads(lambda t: _evaluated(config, t, evaluate, latency), running, config.parallel_trials)
        for trial, (status, result) in zip(running, outcomes, strict=True):
            journal.finish(trial, status, result)
            shape = ", ".join(f"{name}={value}" for name, value in trial.point.items())
            outcome = f"accuracy {result['accuracy']:.2f} %" if status == "completed" else f"failed: {result['error']}"
            known, took = result["latency_s"], result["seconds"]
            shown = "latency unknown" if known is None else f"{known * 1e3:.3f} ms"
            progress(f"trial {trial.number} ({trial.generator}): {shape}; {outcome}, {shown}, took {took:.1f} s")


def on_plateau(config: SearchConfig, trials: list[Trial]) -> bool:
    """Whether the last `plateau_trials` trials, none of them an initial one, raised the hypervolume too little."""
    before = len(trials) - config.plateau_trials
    if not config.plateau_trials or before < config.num_initial_trials:
        return False

    def volume(some: list[Trial]) -> float:
        pairs = [(t.result["accuracy"], t.result["latency_s"]) for t in some if t.status == "completed"]
        return pareto.hypervolume(pairs, config.accuracy_threshold, config.latency_threshold_s)

    return volume(trials) - volume(trials[:before]) < config.plateau_gain


def _evaluated(
    config: SearchConfig, trial: Trial, evaluate: Evaluate, latency: KnownLatency
) -> tuple[str, dict[str, Any]]:
    """Status and result of one trial; one whose latency cannot be had fails before it is trained."""
    encoder = decode(config.space, trial.point)
    started = time.perf_counter()
    known = latency.exact([encoder])[0]
    result: dict[str, Any]
    try:
        if isinstance(known, LatencyFailure):
            raise StageError(known.reason)
        status, result = "completed", dict(evaluate(encoder, trial.number))
        if unusable := [name for name, value in result.items() if not math.isfinite(value)]:
            status, result = "failed", {"error": f"{unusable[0]} is not a finite number"}
    except RuntimeError as error:
        status, result = "failed", {"error": (str(error).splitlines() or [repr(error)])[0][:500]}
    return status, {
        "suggest_seconds": trial.result.get("suggest_seconds", 0.0),
        "latency_s": None if isinstance(known, LatencyFailure) else known.latency_s,
        "parameters": num_parameters(encoder),
        **result,
        "seconds": time.perf_counter() - started,
    }


def history(config: SearchConfig, trials: list[Trial], track: str, method: str = "roofline") -> dict[str, Any]:
    """The search as the leaderboard page shows it: trials, front, hypervolume after each trial, method of latency."""
    completed = [t for t in trials if t.status == "completed"]
    front = pareto.non_dominated([(t.result["accuracy"], t.result["latency_s"]) for t in completed])
    on_front = {t.number for t, member in zip(completed, front, strict=True) if member}
    rows, seen = [], []
    for trial in trials:
        if trial.status == "completed":
            seen.append((trial.result["accuracy"], trial.result["latency_s"]))
        rows.append(
            {
                "trial": trial.number,
                "status": trial.status,
                "generator": trial.generator,
                "encoder": to_dict(decode(config.space, trial.point)),
                "parameters": trial.result["parameters"],
                "accuracy": trial.result.get("accuracy"),
                "accuracy_stderr": trial.result.get("accuracy_stderr"),
                "latency_s": trial.result["latency_s"],
                "on_front": trial.number in on_front,
                "hypervolume": pareto.hypervolume(seen, config.accuracy_threshold, config.latency_threshold_s),
                "seconds": trial.result["seconds"],
                "suggest_seconds": trial.result["suggest_seconds"],
            }
        )
    objectives = {
        "accuracy": {"unit": "percent", "direction": "maximize", "threshold": config.accuracy_threshold},
        "latency": {
            "unit": "s",
            "direction": "minimize",
            "threshold": config.latency_threshold_s,
            "method": method,
            "chip": config.chip.name,
        },
    }
    return {
        "schema_version": 1,
        "track": track,
        "algorithm": config.algorithm,
        "objectives": objectives,
        "search_fields": list(searched_fields(config.space)),
        "trials": rows,
    }


def found_systems(config: SearchConfig, trials: list[Trial]) -> list[tuple[str, EncoderConfig]]:
    """The students that are distilled in full: front members, those that add most hypervolume first.

    Returns:
        At most `num_found` pairs of name (`found-<hash>`) and architecture; fewer where the front is smaller.

    Raises:
        StageError: no trial completed.
    """
    completed = [t for t in trials if t.status == "completed"]
    if not completed:
        raise StageError("search: no trial completed, nothing to distil")
    points = [(t.result["accuracy"], t.result["latency_s"]) for t in completed]
    front = [t for t, member in zip(completed, pareto.non_dominated(points), strict=True) if member]
    chosen: list[Trial] = []
    while front and len(chosen) < config.num_found:
        base = [(t.result["accuracy"], t.result["latency_s"]) for t in chosen]

        def gain(trial: Trial, base: list[tuple[float, float]] = base) -> float:
            point = (trial.result["accuracy"], trial.result["latency_s"])
            return pareto.hypervolume([*base, point], config.accuracy_threshold, config.latency_threshold_s)

        best = max(front, key=gain)
        front.remove(best)
        chosen.append(best)
    encoders = [decode(config.space, t.point) for t in chosen]
    return [(f"found-{architecture_hash(e)[:8]}", e) for e in encoders]
