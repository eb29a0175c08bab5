"""Progress of a search as a whole: trials done of all, time left, the best so far."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from benchmark.search import pareto
from tasks.system.progress import duration

if TYPE_CHECKING:
    from benchmark.config import SearchConfig
    from benchmark.search.journal import Trial
    from tasks.system.progress import Show

# Name of the bar.
NAME = "search"


def ended(trials: Sequence[Trial]) -> list[Trial]:
    """Returns the trials that have ended, in whatever way."""
    return [trial for trial in trials if trial.status != "running"]


def seconds_left(trials: Sequence[Trial], total: int, workers: int) -> float | None:
    """Estimates the time until a search ends: the median duration of its trials, for each round of the workers.

    Trials of earlier calls and failed ones count; trials that run count as left. A last round with fewer trials than
    workers takes as long as another.

    Args:
        trials: all trials so far.
        total: number of trials of the whole search.
        workers: trials at a time.

    Returns:
        Seconds; None where no trial has ended.
    """
    took = [float(trial.result["seconds"]) for trial in ended(trials)]
    if not took:
        return None
    return statistics.median(took) * math.ceil(max(0, total - len(took)) / workers)


def summary(config: SearchConfig, trials: Sequence[Trial], total: int, elapsed: float) -> str:
    """Words the state of a search.

    Args:
        config: thresholds, and the trials at a time.
        trials: all trials so far.
        total: number of trials of the whole search.
        elapsed: seconds since this call began.
    """
    parts = [f"{len(ended(trials))}/{total} trials", f"{duration(elapsed)} elapsed"]
    left = seconds_left(trials, total, config.parallel_trials)
    if left is not None:
        parts.append(f"{duration(left)} left")
    found = [(t.result[config.outcome], t.result["latency_s"]) for t in trials if t.status == "completed"]
    if found:
        volume = pareto.hypervolume(found, config.accuracy_threshold, config.latency_threshold_s)
        name = config.outcome.replace("_", " ")
        parts += [f"best {name} {max(value for value, _ in found):.2f} %", f"hypervolume {volume:.3f}"]
    return ", ".join(parts)


class Pace:
    """Shows how far a search is: a line for each trial that ends, and a bar where there is a terminal."""

    def __init__(
        self, config: SearchConfig, total: int, progress: Callable[[str], None], show: Show | None = None
    ) -> None:
        """Starts the clock.

        Args:
            config: the search.
            total: number of its trials.
            progress: receives a line for each trial.
            show: shows a bar; None for none.
        """
        self._config, self._total, self._progress, self._show = config, total, progress, show
        self._started = time.perf_counter()

    def update(self, trials: Sequence[Trial], line: str = "") -> None:
        """Shows the state after a change; `line` describes the trial that ended, if one did."""
        text = summary(self._config, trials, self._total, time.perf_counter() - self._started)
        if line:
            self._progress(f"{line}; {text}")
        if self._show is not None:
            self._show(NAME, len(ended(trials)), self._total, text)

    def close(self) -> None:
        """Removes the bar."""
        if self._show is not None:
            self._show(NAME, self._total, self._total, "")
