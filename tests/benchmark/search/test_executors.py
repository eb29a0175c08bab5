"""Executors: the same outcomes from threads and from a Ray cluster, also when workers and machines are lost."""

from __future__ import annotations

import importlib.util
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark.config import ExecutorConfig
from benchmark.process import numerics
from benchmark.search.executors import LocalExecutor, Outcome, RayExecutor, attempt, make_executor
from tasks.system.errors import StageError
from tasks.system.repository import REPOSITORY
from tests.helpers.ray_numerics import Numerics
from tests.helpers.ray_work import Recorded

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed (the extra 'cluster')")
KINDS = {"fine": 1, "nan": 2, "error": 3, "memory": 4, "another": 5}


def outcomes(executor: Any, jobs: dict[int, dict[str, Any]]) -> dict[int, Outcome]:
    """Submits all jobs and waits for them."""
    for number, job in jobs.items():
        executor.submit(number, job)
    found = [executor.next() for _ in jobs]
    assert all(outcome.result.pop("seconds") >= 0 for outcome in found)
    return {outcome.number: outcome for outcome in found}


JOBS = {number: {"kind": kind, "value": number} for kind, number in KINDS.items()}
EXPECTED = {
    1: Outcome(1, "completed", {"accuracy": 2.0}),
    2: Outcome(2, "failed", {"error": "accuracy is not a finite number", "reason": "not_finite"}),
    3: Outcome(3, "failed", {"error": "it broke", "reason": "error"}),
    4: Outcome(
        4,
        "failed",
        {"error": "RESOURCE_EXHAUSTED: out of memory while trying to allocate 1 byte", "reason": "out_of_memory"},
    ),
    5: Outcome(5, "completed", {"accuracy": 10.0}),
}


@pytest.mark.parametrize("workers", [1, 3])
def test_threads(tmp_path: Path, workers: int) -> None:
    executor = make_executor(Recorded(str(tmp_path)), ExecutorConfig(), workers)
    assert isinstance(executor, LocalExecutor)
    assert outcomes(executor, JOBS) == EXPECTED
    executor.submit(7, {"kind": "bug", "value": 7})
    with pytest.raises(KeyError, match="a mistake in the code"):
        executor.next()
    executor.close()


def test_outcomes_come_as_they_end(tmp_path: Path) -> None:
    executor = LocalExecutor(Recorded(str(tmp_path)), 2)
    executor.submit(0, {"kind": "slow", "value": 0})
    executor.submit(1, {"kind": "fine", "value": 1})
    executor.submit(2, {"kind": "fine", "value": 2})
    assert [executor.next().number, executor.next().number] == [1, 2]
    (tmp_path / "go").touch()
    assert executor.next().number == 0
    executor.close()


def test_memory_that_is_no_more() -> None:
    def greedy(job: dict[str, Any]) -> dict[str, float]:
        raise MemoryError

    outcome = attempt(greedy, 3, {})
    assert (outcome.status, outcome.result["reason"]) == ("failed", "out_of_memory")
    assert outcome.result["error"] == "MemoryError()"


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_one_line_says_so() -> None:
    with pytest.raises(StageError, match="Ray is not installed; install the extra 'cluster'"):
        make_executor(print, ExecutorConfig(name="ray"), 1)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without room for trials, and two machines with room for one each, all on this one."""
    from ray.cluster_utils import Cluster

    # Workers find the work of this test, and Ray itself where it is in the same folder.
    before = os.environ.get("PYTHONPATH")
    root = str(REPOSITORY)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, before]))
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [started.add_node(num_cpus=1) for _ in range(2)]
    try:
        yield started, nodes
    finally:
        import ray

        ray.shutdown()
        started.shutdown()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def ray_executor(cluster: Any, folder: Path, **settings: Any) -> RayExecutor:
    """An executor on the cluster."""
    config = ExecutorConfig(name="ray", ray_address=cluster[0].address, **settings)
    executor = make_executor(Recorded(str(folder)), config, 2)
    assert isinstance(executor, RayExecutor)
    return executor


def attempts(folder: Path, value: int, wanted: int) -> list[int]:
    """Waits until a job was begun so often; the processes that worked on it."""
    until = time.monotonic() + 60
    while len(found := sorted(folder.glob(f"{value}-*"))) < wanted or not found[-1].read_text():
        assert time.monotonic() < until, f"job {value} was begun {len(found)} times"
        time.sleep(0.05)
    return [int(path.read_text()) for path in found]


@needs_ray
@pytest.mark.skipif(bool(numerics.missing_features()), reason="this processor has no AVX2 or no FMA")
def test_workers_compute_with_the_numerics_of_the_run(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of a cluster that was started with others."""
    native = numerics.native_environment(os.environ)
    config = ExecutorConfig(name="ray", ray_address=cluster[0].address)
    for threads in (3, 5):
        monkeypatch.setattr(os, "environ", numerics.portable_environment(native, threads))
        executor = make_executor(Numerics(), config, 1)
        executor.submit(0, {})
        assert executor.next().result["threads"] == threads
        executor.close()


@needs_ray
def test_a_cluster_gives_what_threads_give(cluster: Any, tmp_path: Path) -> None:
    executor = ray_executor(cluster, tmp_path)
    assert outcomes(executor, JOBS) == EXPECTED
    executor.submit(7, {"kind": "bug", "value": 7})
    with pytest.raises(KeyError, match="a mistake in the code"):
        executor.next()


@needs_ray
def test_a_killed_worker_is_replaced(cluster: Any, tmp_path: Path) -> None:
    executor = ray_executor(cluster, tmp_path)
    executor.submit(1, {"kind": "slow", "value": 1})
    executor.submit(2, {"kind": "fine", "value": 2})
    (worker,) = attempts(tmp_path, 1, 1)
    os.kill(worker, signal.SIGKILL)
    ended = [executor.next(), executor.next()]
    assert {o.number: o.result["accuracy"] for o in ended} == {1: 2.0, 2: 4.0}
    assert len(attempts(tmp_path, 1, 2)) == 2


@needs_ray
def test_a_trial_that_kills_its_workers_has_failed(cluster: Any, tmp_path: Path) -> None:
    executor = ray_executor(cluster, tmp_path, max_retries=1)
    executor.submit(4, {"kind": "crash", "value": 4})
    outcome = executor.next()
    assert (outcome.status, outcome.result["reason"]) == ("failed", "worker_lost")
    assert outcome.result["error"].startswith("its worker was lost 2 times: ")
    assert len(attempts(tmp_path, 4, 2)) == 2


@needs_ray
def test_a_lost_machine_is_replaced(cluster: Any, tmp_path: Path) -> None:
    started, nodes = cluster
    executor = ray_executor(cluster, tmp_path)
    jobs = {1: {"kind": "slow", "value": 1}, 2: {"kind": "slow", "value": 2}}
    for number, job in jobs.items():
        executor.submit(number, job)
    before = {number: attempts(tmp_path, number, 1)[0] for number in jobs}
    # Kills all processes of one machine at once.
    started.remove_node(nodes.pop(0), allow_graceful=False)
    (tmp_path / "go").touch()
    ended = [executor.next(), executor.next()]
    assert {o.number: o.result["accuracy"] for o in ended} == {1: 2.0, 2: 4.0}
    again = [number for number in jobs if len(list(tmp_path.glob(f"{number}-*"))) == 2]
    assert len(again) == 1 and before[again[0]] != attempts(tmp_path, again[0], 2)[1]
