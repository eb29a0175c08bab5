"""The trial loop: propose, evaluate, record, until the budget is spent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from benchmark.config import SearchConfig, to_dict
from benchmark.config.search import DEFAULT_LATENCY_THRESHOLD_S, MEASURED
from benchmark.hardware.estimates import Latencies, LatencyFailure, known_latency
from benchmark.models.formulas import num_parameters
from benchmark.search import halving
from benchmark.search.architectures import Architectures
from benchmark.search.feasibility import feasibility, limits
from benchmark.search.journal import refuse_cut_group
from benchmark.search.pace import Pace
from benchmark.search.proposals import next_points, on_plateau
from benchmark.search.space import decode
from tasks.system.errors import StageError

if TYPE_CHECKING:
    from benchmark.search.executors import Executor, Outcome
    from benchmark.search.journal import Journal, Trial
    from benchmark.search.problem import Problem
    from tasks.system.progress import Show


def run_search(
    config: SearchConfig,
    journal: Journal,
    executor: Executor,
    seed: int,
    progress: Callable[[str], None],
    latency: Latencies | None = None,
    store: Callable[[Problem], Callable[[list[Trial]], None]] | None = None,
    show: Show | None = None,
    on_end: Callable[[Trial], None] | None = None,
) -> list[Trial]:
    """Runs trials until `num_trials` are done, and resumes from the journal.

    Up to `parallel_trials` run at a time. They are proposed together, and their outcomes are recorded together in their
    order, so that the journal does not depend on their speed. With `asynchronous`, each one is recorded when it ends,
    and the next one is proposed.

    Args:
        config: space, algorithm, budget.
        journal: where trials are written; trials that were running when an earlier process died are run again, from
            their last rung on.
        executor: evaluates jobs of `encoder` (as JSON), `number` (the trial's) and `fraction` (of its steps, counted
            from its first) to the objective (`SearchConfig.outcome`), its standard error and further numbers.
        seed: seeds the initial design and the suggestions.
        progress: receives progress lines.
        latency: the known objective; by default one without a cache on disk.
        store: opens a second record of the trials, and returns a function that updates it. It is opened when the first
            trials have ended, since that takes seconds.
        show: shows a bar of the whole search; None for none.
        on_end: receives each trial that has ended, when it is in the journal.

    Returns:
        All trials.

    Raises:
        StageError: no point of the space is feasible.
    """
    latency = latency or known_latency(config, None, progress)
    architectures = Architectures(config, latency)
    problem = architectures.problem({})
    if problem.enumerable and not problem.pool.points and not config.attach:
        found = feasibility(config, latency)
        nearest = f"; nearest: {found.nearest}" if found is not None and found.nearest else ""
        raise StageError(f"SearchConfig.space: no valid point meets {limits(config)}{nearest}")
    size = str(len(problem.pool.points)) if problem.enumerable else f"up to {problem.size:.0f}"
    progress(f"search: {size} feasible architectures, {config.num_trials} trials by {config.algorithm}")
    # Loading Ax beside a measurement would slow both down.
    if config.algorithm == "ax" and latency.method != MEASURED and len(journal.trials) < config.num_trials:
        from benchmark.search import ax_search

        threading.Thread(target=ax_search.preload, daemon=True).start()
    if latency.only_a_rank and config.latency_threshold_s < DEFAULT_LATENCY_THRESHOLD_S:
        progress(
            f"search: SearchConfig.latency_threshold_s = {config.latency_threshold_s:g} is compared with ranks, which"
            " may be many times shorter than times"
        )
    # A small space may end before the budget.
    points = len(problem.pool.points) if problem.enumerable else config.num_trials
    pace = Pace(config, max(min(config.num_trials, points), len(journal.trials)), progress, show)
    pace.update(journal.trials)
    search = _Search(config, journal, executor, latency, pace, on_end)
    update: Callable[[list[Trial]], None] | None = None
    try:
        while True:
            if store is not None and any(t.status != "running" for t in journal.trials):
                update = update or store(problem)
                update(journal.trials)
            running = [t for t in journal.trials if t.status == "running"]
            if not running or config.asynchronous:
                _propose(config, architectures, journal, seed, progress, config.parallel_trials - len(running))
                running = [t for t in journal.trials if t.status == "running"]
            if not running:
                return journal.trials
            search.advance(running)
    finally:
        pace.close()
        executor.close()


def _propose(
    config: SearchConfig,
    architectures: Architectures,
    journal: Journal,
    seed: int,
    progress: Callable[[str], None],
    room: int,
) -> None:
    """Starts up to `room` new trials, as far as the budget allows and points are left."""
    wanted = min(room, config.num_trials - len(journal.trials))
    if wanted <= 0:
        return
    if on_plateau(config, journal.trials):
        count = len(journal.trials)
        progress(f"search: ends after {count} trials, the last {config.plateau_trials} gained little")
        return
    asked = time.perf_counter()
    choices = next_points(config, architectures, journal.trials, seed, wanted)
    if choices:
        refuse_cut_group(config, journal.trials)
        seconds = (time.perf_counter() - asked) / len(choices)
        for trial in journal.start(choices):
            trial.result = {"suggest_seconds": seconds}


class _Search:
    """Submits trials and records their outcomes."""

    def __init__(
        self,
        config: SearchConfig,
        journal: Journal,
        executor: Executor,
        latency: Latencies,
        pace: Pace,
        on_end: Callable[[Trial], None] | None,
    ) -> None:
        self._config, self._journal, self._executor = config, journal, executor
        self._latency, self._pace, self._on_end = latency, pace, on_end
        self._submitted: set[int] = set()
        self._fractions = halving.fractions(config)

    def advance(self, running: list[Trial]) -> None:
        """Has trials evaluated, and records at least one outcome.

        Unless asynchronous, those at the lowest rung go first and all of them are waited for: a search that was killed
        between two of their outcomes then continues as it would have.
        """
        lowest = min(len(t.rungs) for t in running)
        waiting = [
            trial
            for trial in running
            if trial.number not in self._submitted and (self._config.asynchronous or len(trial.rungs) == lowest)
        ]
        # All at once, before the first of them trains: nothing is measured beside a training.
        self._latency.exact([decode(self._config.space, trial.point) for trial in waiting])
        for trial in waiting:
            self._submit(trial)
        if self._config.asynchronous:
            outcomes = [self._executor.next()] if self._submitted else []
        else:
            outcomes = sorted((self._executor.next() for _ in tuple(self._submitted)), key=lambda o: o.number)
        for outcome in outcomes:
            self._submitted.discard(outcome.number)
            self._record_outcome(self._journal.trials[outcome.number], outcome)

    def _known_result(self, trial: Trial) -> tuple[LatencyFailure | None, dict[str, Any]]:
        """Returns the failure of a trial's latency, if any, and the fields of its result that are known in advance."""
        encoder = decode(self._config.space, trial.point)
        found = self._latency.exact([encoder])[0]
        failure = found if isinstance(found, LatencyFailure) else None
        known: dict[str, Any] = {
            "suggest_seconds": trial.result.get("suggest_seconds", 0.0),
            "latency_s": None if isinstance(found, LatencyFailure) else found.latency_s,
            "parameters": num_parameters(encoder),
        }
        if not isinstance(found, LatencyFailure) and found.method == MEASURED:
            known |= {"latency_method": MEASURED, **found.details}
        return failure, known

    def _submit(self, trial: Trial) -> None:
        """Hands a trial to the executor; one without a latency fails before it is trained."""
        failure, known = self._known_result(trial)
        if failure is not None:
            self._finish(trial, "failed", {**known, "error": failure.reason, "reason": "latency", "seconds": 0.0})
            return
        encoder = to_dict(decode(self._config.space, trial.point))
        fraction = self._fractions[len(trial.rungs)]
        self._submitted.add(trial.number)
        self._executor.submit(trial.number, {"encoder": encoder, "number": trial.number, "fraction": fraction})

    def _record_outcome(self, trial: Trial, outcome: Outcome) -> None:
        """Records an outcome: a rung from which the trial continues, or its end."""
        result = self._known_result(trial)[1] | outcome.result
        for name in ("seconds", "compile_seconds"):
            if trial.rungs and name in result:
                result[name] += trial.rungs[-1].get(name, 0.0)
        rung, status = len(trial.rungs), outcome.status
        if status == "completed" and rung < len(self._config.rungs):
            others = halving.at_rung(self._config, [t for t in self._journal.trials if t is not trial], rung)
            if halving.is_promoted(self._config, others, (result[self._config.outcome], result["latency_s"])):
                self._journal.record_rung(trial, result)
                return
            status = "stopped"
        self._finish(trial, status, result)

    def _finish(self, trial: Trial, status: str, result: dict[str, Any]) -> None:
        self._journal.finish(trial, status, result)
        self._pace.update(self._journal.trials, _progress_line(trial, self._config, self._latency.only_a_rank))
        if self._on_end is not None:
            self._on_end(trial)


def _progress_line(trial: Trial, config: SearchConfig, only_a_rank: bool) -> str:
    shape = ", ".join(f"{name}={value}" for name, value in trial.point.items())
    result = trial.result
    if trial.status == "failed":
        outcome = f"failed: {result['error']}"
    else:
        outcome = f"{config.outcome.replace('_', ' ')} {result[config.outcome]:.2f} %"
    if trial.status == "stopped":
        outcome += f" after {halving.fractions(config)[len(trial.rungs) - 1]:.0%} of the steps, stopped"
    known = result["latency_s"]
    shown = "latency unknown" if known is None else f"{known * 1e3:.3f} ms{' (a rank)' if only_a_rank else ''}"
    took = result["seconds"]
    return f"trial {trial.number} ({trial.generator}): {shape}; {outcome}, {shown}, took {took:.1f} s"
