"""The trial loop: suggest, evaluate, write down, until the budget is spent."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmark.config import EncoderConfig, SearchConfig, to_dict
from benchmark.errors import StageError
from benchmark.hardware.estimates import KnownLatency, LatencyFailure, known_latency
from benchmark.models.formulas import num_parameters
from benchmark.parallel import map_threads
from benchmark.search import pareto
from benchmark.search.journal import Journal, Trial
from benchmark.search.space import Point, architecture_hash, decode, enumerate_points, searched_fields

Evaluate = Callable[[EncoderConfig, int], dict[str, float]]


def feasible_points(config: SearchConfig, latency: KnownLatency) -> list[Point]:
    """Points that may be tried: valid, below the threshold by `quick`, within `max_parameters` (0: no limit)."""
    points = []
    for point in enumerate_points(config.space):
        encoder = decode(config.space, point)
        small = not config.max_parameters or num_parameters(encoder) <= config.max_parameters
        if small and latency.quick(encoder).latency_s < config.latency_threshold_s:
            points.append(point)
    return points


def initial_points(config: SearchConfig, points: list[Point], seed: int) -> list[Point]:
    """Orders all feasible points so that every beginning covers the space evenly (scrambled Sobol, then the rest)."""
    from scipy.stats import qmc

    names = searched_fields(config.space)
    sobol = qmc.Sobol(d=max(1, len(names)), seed=seed)
    samples = sobol.random_base2(8)
    allowed = {tuple(p.values()): p for p in points}
    order: dict[tuple[int, ...], Point] = {}
    for sample in samples:
        values = tuple(
            getattr(config.space, n)[int(u * len(getattr(config.space, n)))]
            for n, u in zip(names, sample, strict=False)
        )
        if values in allowed:
            order.setdefault(values, allowed[values])
    rest = [p for key, p in allowed.items() if key not in order]
    shuffled = np.random.default_rng(seed).permutation(len(rest))
    return [*order.values(), *(rest[i] for i in shuffled)]


def next_points(
    config: SearchConfig, trials: list[Trial], points: list[Point], order: list[Point], seed: int, count: int
) -> list[tuple[Point, str]]:
    """Chooses the next points from the trials so far; a pure function of its arguments.

    Returns:
        Up to `count` pairs of a point and who proposed it: `sobol` (initial design, or a filler), `random` or `ax`. The
        list is empty when every feasible point was tried.
    """
    tried = [t.point for t in trials]
    fresh = [p for p in order if p not in tried]
    initial = config.num_initial_trials - len(trials)
    if initial > 0:
        return [(point, "sobol") for point in fresh[: min(count, initial)]]
    if config.algorithm == "random":
        chosen = np.random.default_rng((seed, len(trials))).permutation(len(fresh))[:count]
        return [(fresh[i], "random") for i in chosen]
    observations = [
        (t.point, t.result["accuracy"], t.result["accuracy_stderr"], t.result["latency_s"])
        for t in trials
        if t.status == "completed"
    ]
    suggested: list[Point] = []
    if observations and fresh:
        from benchmark.search.ax_search import suggest

        for point in suggest(config, observations, seed * 1000 + len(trials), count):
            if point in fresh and point not in suggested:
                suggested.append(point)
    fillers = [p for p in fresh if p not in suggested]
    return ([(p, "ax") for p in suggested] + [(p, "sobol") for p in fillers])[:count]


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
    points = feasible_points(config, latency)
    if not points:
        raise StageError("SearchConfig.space: no valid point meets latency_threshold_s and max_parameters")
    order = initial_points(config, points, seed)
    progress(f"search: {len(points)} feasible architectures, {config.num_trials} trials by {config.algorithm}")
    if config.algorithm == "ax" and len(journal.trials) < config.num_trials:
        from benchmark.search import ax_search

        threading.Thread(target=ax_search.preload, daemon=True).start()
    while True:
        running = [t for t in journal.trials if t.status == "running"]
        if not running:
            wanted = min(config.parallel_trials, config.num_trials - len(journal.trials))
            asked = time.perf_counter()
            choices = next_points(config, journal.trials, points, order, seed, wanted) if wanted > 0 else []
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
