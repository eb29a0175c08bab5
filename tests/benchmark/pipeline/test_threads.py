"""Work in threads: order, limits, and what happens to the rest when one piece fails."""

import threading
import time

import pytest

from benchmark.pipeline.threads import map_threads


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_keep_the_order_of_the_items(workers: int) -> None:
    assert map_threads(lambda n: n * n, range(20), workers) == [n * n for n in range(20)]
    assert map_threads(lambda n: n, [], workers) == []


def test_one_worker_is_the_caller() -> None:
    assert map_threads(lambda _: threading.current_thread(), range(3), 1) == [threading.current_thread()] * 3


def test_workers_run_together_and_no_more_than_asked_for() -> None:
    together = threading.Barrier(2, timeout=30)
    lock = threading.Lock()
    running: list[int] = [0, 0]

    def work(_: int) -> None:
        with lock:
            running[0] += 1
            running[1] = max(running)
        together.wait()
        with lock:
            running[0] -= 1

    # Each piece waits for a second one, so fewer than two workers would never end.
    map_threads(work, range(6), 2)
    assert running == [0, 2]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_first_error_is_raised_and_the_rest_dropped(workers: int, error: type[BaseException]) -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 0:
            raise error("first")
        time.sleep(0.01)
        return number

    with pytest.raises(error, match="first"):
        map_threads(work, range(200), workers)
    assert len(begun) < 200
