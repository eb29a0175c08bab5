"""Executors of trials: threads of this process, or tasks of a Ray cluster.

An executor takes jobs, which JSON can hold, and returns their outcomes in the order in which they end. The outcome of a
job depends on the job alone, so no result depends on the executor.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from benchmark.process import numerics
from tasks.system.child_process import child_environment
from tasks.system.errors import StageError

if TYPE_CHECKING:
    from benchmark.config.executor import ExecutorConfig

Job = dict[str, Any]
Work = Callable[[Job], dict[str, float]]


@dataclass(frozen=True)
class Outcome:
    """The end of a trial.

    Attributes:
        number: number of the trial.
        status: `completed` or `failed`.
        result: numbers of a completed trial; of a failed one `error` (one line) and `reason`: `error`, `not_finite`,
            `out_of_memory` or `worker_lost`. Both hold `seconds`.
    """

    number: int
    status: str
    result: dict[str, Any]


def attempt(work: Work, number: int, job: Job) -> Outcome:
    """Runs a job in the calling thread; its failure is an outcome, not an error."""
    started = time.perf_counter()
    try:
        result: dict[str, Any] = dict(work(job))
        unusable = [name for name, value in result.items() if not math.isfinite(value)]
        status = "failed" if unusable else "completed"
        if unusable:
            result = {"error": f"{unusable[0]} is not a finite number", "reason": "not_finite"}
    except MemoryError as error:
        status, result = "failed", {"error": _first_line(error), "reason": "out_of_memory"}
    except RuntimeError as error:
        # XLA says so in the text of a RuntimeError.
        reason = "out_of_memory" if "RESOURCE_EXHAUSTED" in str(error) else "error"
        status, result = "failed", {"error": _first_line(error), "reason": reason}
    return Outcome(number, status, result | {"seconds": time.perf_counter() - started})


def _first_line(error: BaseException) -> str:
    """Returns the first line of an error's text."""
    return (str(error).splitlines() or [repr(error)])[0][:500]


class Executor(Protocol):
    """Evaluates trials, several at a time."""

    def submit(self, number: int, job: Job) -> None:
        """Takes a trial; it may begin at once."""

    def next(self) -> Outcome:
        """Waits for the next trial to end."""

    def close(self) -> None:
        """Cancels the trials that are still pending."""


class LocalExecutor:
    """Evaluates in threads of this process."""

    def __init__(self, work: Work, workers: int) -> None:
        """Starts without trials.

        Args:
            work: evaluates a job; must be safe to call from `workers` threads at once.
            workers: trials at a time.
        """
        self._work = work
        self._pool = ThreadPoolExecutor(workers)
        self._running: dict[Future[Outcome], int] = {}

    def submit(self, number: int, job: Job) -> None:
        """Takes a trial."""
        self._running[self._pool.submit(attempt, self._work, number, job)] = number

    def next(self) -> Outcome:
        """Waits for the next trial to end; of several that ended the one with the lowest number comes first.

        Raises:
            Exception: any error of `work` that `attempt` does not count as a failed trial.
        """
        ended, _ = wait(self._running, return_when=FIRST_COMPLETED)
        first = min(ended, key=self._running.__getitem__)
        del self._running[first]
        return first.result()

    def close(self) -> None:
        """Drops the trials that wait; those that run continue until they end."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class RayExecutor:
    """Evaluates as tasks of a Ray cluster, whose machines all see the run's folder under the same path."""

    def __init__(self, work: Work, config: ExecutorConfig) -> None:
        """Joins a cluster or starts one on this machine.

        Args:
            work: evaluates a job; it is sent to the workers, so it must be picklable.
            config: address, and resources of a trial.

        Raises:
            StageError: Ray is not installed, or the cluster does not answer.
        """
        try:
            import ray
        except ImportError:
            raise StageError(
                "ExecutorConfig.name = 'ray': Ray is not installed; install the extra 'cluster', or choose 'local'"
            ) from None
        self._ray = ray
        self._started = not ray.is_initialized()
        if self._started:
            # Workers import this package from its folder; a cluster that runs already has set its own path.
            os.environ["PYTHONPATH"] = child_environment(os.environ)["PYTHONPATH"]
            try:
                ray.init(
                    config.ray_address or None, include_dashboard=False, log_to_driver=False, logging_level="error"
                )
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise StageError(
                    f"ExecutorConfig.ray_address = {config.ray_address!r}: no Ray cluster answers: {_first_line(error)}"
                ) from None
        # A cluster that runs already was started in its own environment.
        variables = numerics.changed_variables(os.environ)
        self._task = ray.remote(attempt).options(
            num_cpus=config.cpus,
            num_gpus=config.gpus,
            resources={"TPU": config.tpus} if config.tpus else None,
            max_retries=config.max_retries,
            runtime_env={"env_vars": variables} if variables else None,
        )
        self._work, self._retries = ray.put(work), config.max_retries
        self._running: dict[Any, tuple[int, float]] = {}

    def submit(self, number: int, job: Job) -> None:
        """Takes a trial, which begins when a machine has room for it."""
        self._running[self._task.remote(self._work, number, job)] = number, time.perf_counter()

    def next(self) -> Outcome:
        """Waits for the next trial to end; one whose workers were lost too often has failed."""
        ended, _ = self._ray.wait(list(self._running), num_returns=1)
        number, submitted = self._running.pop(ended[0])
        try:
            outcome: Outcome = self._ray.get(ended[0])
        except self._ray.exceptions.OutOfMemoryError as error:
            failure = {"error": _first_line(error), "reason": "out_of_memory"}
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self._ray.exceptions.RayError as error:
            lost = f"its worker was lost {self._retries + 1} times: {type(error).__name__}"
            failure = {"error": lost, "reason": "worker_lost"}
        else:
            return outcome
        return Outcome(number, "failed", failure | {"seconds": time.perf_counter() - submitted})

    def close(self) -> None:
        """Cancels the trials that are still pending, and stops the cluster if it was started here."""
        for task in self._running:
            self._ray.cancel(task, force=True)
        self._running.clear()
        if self._started:
            self._ray.shutdown()


def make_executor(work: Work, config: ExecutorConfig, workers: int) -> Executor:
    """Makes the executor that the settings name, for `workers` trials at a time."""
    return RayExecutor(work, config) if config.name == "ray" else LocalExecutor(work, workers)
