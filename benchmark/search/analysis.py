"""Analyses of a finished search: certainty of the front, importance of the fields, accuracy of the models."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from benchmark.search import pareto
from benchmark.search.problem import Observation, Problem, Value
from benchmark.search.proposals import observed

if TYPE_CHECKING:
    from benchmark.config import SearchConfig
    from benchmark.search.journal import Trial

DRAWS = 20_000
_BLOCK = 1_000
# Fewer completed trials say nothing about fields or models.
FEWEST = 5
# Names of the models on the page: Ax's default one, and that of `expected_gain`.
AX, EXPECTED_GAIN = "ax", "expected_gain"

_Predicted = Mapping[tuple[Value, ...], tuple[float, float]]
_Result = TypeVar("_Result")


def front_under_noise(
    outcomes: Sequence[tuple[float, float, float]], accuracy_threshold: float, latency_threshold_s: float, seed: int
) -> tuple[list[float], tuple[float, float]]:
    """Estimates by Monte Carlo how front and hypervolume vary with the noise of the accuracies.

    Each draw gives every trial a normal accuracy around the observed one, independent of the others and clipped to 0
    to 100 percent. Latency is exact.

    Args:
        outcomes: accuracy in percent, its standard error, and latency in seconds, for each trial; at least one.
        accuracy_threshold: percent; see `pareto.hypervolume`.
        latency_threshold_s: seconds.
        seed: seeds the draws.

    Returns:
        For each trial the share of draws in which no other one dominates it, and the 2.5 % and 97.5 % quantiles of the
        normalised hypervolume. The interval is biased upwards: the largest of several noisy accuracies is larger than
        the accuracy of the largest.
    """
    accuracy, error, latency = np.array(outcomes, float).T
    order = np.argsort(latency, kind="stable")
    accuracy, error, latency = accuracy[order], error[order], latency[order]
    # `first` and `last` bound the run of trials of equal latency, `[trials]`.
    # Among equally fast trials only a better accuracy dominates; among slower ones an equal one is dominated too.
    first = np.searchsorted(latency, latency, side="left")
    last = np.searchsorted(latency, latency, side="right") - 1
    share = [_volume_per_percent(value, accuracy_threshold, latency_threshold_s) for value in latency]
    generator = np.random.default_rng(seed)
    members, volumes = np.zeros(len(order)), []
    for _ in range(DRAWS // _BLOCK):
        drawn = np.clip(accuracy + error * generator.standard_normal((_BLOCK, len(order))), 0.0, 100.0)
        best = np.maximum.accumulate(drawn, axis=1)
        faster = np.concatenate([np.full((_BLOCK, 1), -np.inf), best], axis=1)[:, first]
        members += ((drawn > faster) & (drawn >= best[:, last])).sum(0)
        # Each trial adds its speed times its lead over all faster ones; `drawn` and `best` are [draws, trials].
        heights = np.diff(np.maximum(best - accuracy_threshold, 0.0), axis=1, prepend=0.0)
        volumes.append(heights @ np.array(share))
    low, high = np.quantile(np.concatenate(volumes), [0.025, 0.975])
    probability = np.empty(len(order))
    probability[order] = members / (DRAWS // _BLOCK * _BLOCK)
    return probability.tolist(), (float(low), float(high))


def _volume_per_percent(latency_s: float, accuracy_threshold: float, latency_threshold_s: float) -> float:
    """Hypervolume for each percent of accuracy above the threshold at a latency."""
    if accuracy_threshold >= 100.0:
        return 0.0
    return pareto.hypervolume([(100.0, latency_s)], accuracy_threshold, latency_threshold_s) / (
        100.0 - accuracy_threshold
    )


def analyse(config: SearchConfig, problem: Problem, trials: Sequence[Trial], seed: int) -> dict[str, Any]:
    """Runs all analyses of a finished search; plain values in the form of `benchmark.records.history.Analysis`.

    An analysis that is not possible is None or left out, and `notes` says why in one line each; nothing is raised.

    Args:
        config: thresholds and algorithm.
        problem: the search as a problem; only the latencies of the trials' points are used.
        trials: the trials; those that are running do not count.
        seed: seed of the search.
    """
    notes: list[str] = []
    completed = [t for t in trials if t.status == "completed"]
    names = (config.outcome, f"{config.outcome}_stderr", "latency_s")
    outcomes = [tuple(t.result[name] for name in names) for t in completed]
    front, interval = [], None
    if completed:
        probabilities, bounds = front_under_noise(outcomes, config.accuracy_threshold, config.latency_threshold_s, seed)
        pairs = zip(completed, probabilities, strict=True)
        front = [{"trial": t.number, "probability": probability} for t, probability in pairs]
        interval = {"low": bounds[0], "high": bounds[1]}
    importance: list[dict[str, Any]] | None = None
    predictions: list[dict[str, Any]] = []
    observations = observed(config, list(trials))
    if len(completed) < FEWEST:
        notes.append(f"Importance and predictions need {FEWEST} completed trials, not {len(completed)}.")
    else:
        left_to_ax = False
        if config.algorithm == "ax":
            predicted, note = _attempt(lambda: _predict_with_expected_gain(problem, observations), "our model")
            left_to_ax = predicted is None and not note
            if predicted is not None:
                predictions.append(_predictions(EXPECTED_GAIN, True, problem, completed, predicted))
            notes += note
        found, note = _attempt(lambda: _analyse_with_ax(problem, observations, seed), "Ax's model")
        if found is not None:
            importance = found[0]
            if importance is None:
                notes.append(
                    f"No importance: Ax's model predicts the same {config.outcome.replace('_', ' ')} everywhere."
                )
            predictions.append(_predictions(AX, left_to_ax, problem, completed, found[1]))
        notes += note
    return {
        "draws": DRAWS,
        "front": front,
        "hypervolume": interval,
        "importance": importance,
        "predictions": predictions,
        "notes": notes,
    }


def _predict_with_expected_gain(problem: Problem, observations: Sequence[Observation]) -> _Predicted | None:
    """Predicts with the model of `expected_gain`; None for a problem that is left to Ax."""
    # Light hosts lack some of its packages.
    from benchmark.search import expected_gain

    return _finite(expected_gain.leave_one_out(problem, observations)) if expected_gain.applies(problem) else None


def _analyse_with_ax(
    problem: Problem, observations: Sequence[Observation], seed: int
) -> tuple[list[dict[str, Any]] | None, _Predicted]:
    from benchmark.search import ax_analysis

    importances, predicted = ax_analysis.analyses(problem, observations, seed)
    return None if importances is None else [dataclasses.asdict(i) for i in importances], _finite(predicted)


def _finite(predicted: _Predicted) -> _Predicted:
    if not all(math.isfinite(number) for row in predicted.values() for number in row):
        raise ValueError("its predictions are not finite")
    return predicted


def _attempt(work: Callable[[], _Result], name: str) -> tuple[_Result | None, list[str]]:
    """Runs a model's analysis; returns its result, or None and a line that says why there is none.

    A search that ended well must not fail because a model cannot be fitted, whatever error its packages raise.
    """
    try:
        return work(), []
    except ImportError as error:
        return None, [f"No analysis by {name}: it needs {error.name}, which is not installed."]
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split()) or type(error).__name__
        return None, [f"No analysis by {name}: {reason[:200]}"]


def _predictions(
    model: str, proposes: bool, problem: Problem, completed: Sequence[Trial], found: _Predicted
) -> dict[str, Any]:
    rows = []
    for trial in completed:
        # An attached architecture that is no valid point of the problem is not predicted.
        if (row := found.get(problem.key(trial.point))) is not None:
            rows.append({"trial": trial.number, "mean": row[0], "stderr": row[1]})
    return {"model": model, "proposes": proposes, "trials": rows}
