"""Early stopping of trials, by asynchronous successive halving over both objectives.

A trial is evaluated at every rung, a share of its training steps. It is promoted if it belongs to the better part of
all trials that reached the rung so far. Trials are ordered by non-dominated fronts of the score at this rung that the
search maximises and known latency, as in MO-ASHA (arXiv 2106.12639), and, within a front, by the hypervolume that a
trial alone adds to it. A trial on the first front is always promoted. The decision depends on the trials before it
alone, so no trial waits.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmark.search import pareto

if TYPE_CHECKING:
    from benchmark.config import SearchConfig
    from benchmark.search.journal import Trial

Pair = tuple[float, float]


def is_promoted(config: SearchConfig, earlier: Sequence[Pair], own: Pair) -> bool:
    """Returns True where a trial is trained further after a rung.

    Args:
        config: thresholds, and `reduction_factor`: at least one of so many trials is promoted.
        earlier: objective (percent) at this rung and latency (seconds) of all trials that reached it before.
        own: objective and latency of the trial.
    """
    remaining, kept = [*earlier, own], math.ceil((len(earlier) + 1) / config.reduction_factor)
    ahead = 0
    while True:
        members = pareto.non_dominated(remaining)
        front = [pair for pair, member in zip(remaining, members, strict=True) if member]
        if own in front:
            # Ahead are the fronts before this one, and its members that add more.
            ahead += sum(_added(config, front, pair) > _added(config, front, own) for pair in front)
            return ahead < kept or len(remaining) == len(earlier) + 1
        ahead += len(front)
        remaining = [pair for pair, member in zip(remaining, members, strict=True) if not member]
        if not front:
            return False


def _added(config: SearchConfig, front: Sequence[Pair], pair: Pair) -> float:
    """Computes the hypervolume that the front loses without a member, to the digits that can be compared."""

    def volume(pairs: Sequence[Pair]) -> float:
        return pareto.hypervolume(pairs, config.accuracy_threshold, config.latency_threshold_s)

    return round(volume(front) - volume([other for other in front if other != pair]), pareto.DECIMALS)


def at_rung(config: SearchConfig, trials: Sequence[Trial], number: int) -> list[Pair]:
    """Returns objective and latency of all trials at rung `number`."""
    reached = (t.rungs[number] for t in trials if len(t.rungs) > number)
    return [(rung[config.outcome], rung["latency_s"]) for rung in reached]


def outcomes(config: SearchConfig, trials: Sequence[Trial]) -> dict[int, tuple[float, float]]:
    """Returns objective and standard error at the full budget, by trial number, for a model of the search.

    A stopped trial counts with the objective of its last rung plus the median gain of completed trials from there on;
    the spread of those gains is a further error. Where no trial completed, stopped ones are left out.
    """
    value, error = config.outcome, f"{config.outcome}_stderr"
    found: dict[int, tuple[float, float]] = {}
    completed = [t for t in trials if t.status == "completed"]
    for trial in completed:
        found[trial.number] = (trial.result[value], trial.result[error])
    for trial in trials:
        if trial.status != "stopped":
            continue
        number, last = len(trial.rungs) - 1, trial.rungs[-1]
        gains = [t.result[value] - t.rungs[number][value] for t in completed if len(t.rungs) > number]
        if gains:
            spread = statistics.stdev(gains) if len(gains) > 1 else abs(gains[0])
            found[trial.number] = (
                last[value] + statistics.median(gains),
                math.hypot(last[error], spread),
            )
    return found


def fractions(config: SearchConfig) -> tuple[float, ...]:
    """Returns the shares of a trial's steps after which it is evaluated; the last is 1."""
    return (*config.rungs, 1.0)


def steps_trained(trials: Sequence[Trial]) -> int:
    """Counts the training steps of all trials, stopped ones included; failed ones count up to their last rung."""
    return sum(_steps(trial) for trial in trials)


def _steps(trial: Trial) -> int:
    last: dict[str, Any] = trial.result if "steps" in trial.result else (trial.rungs or [{}])[-1]
    return int(last.get("steps", 0))
