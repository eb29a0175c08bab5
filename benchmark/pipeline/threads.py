"""Independent work in parallel threads: compiling and computing both release Python's lock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_threads(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> list[Result]:
    """Applies `work` to every item, `workers` at a time.

    Args:
        work: must not depend on the other items.
        items: the items.
        workers: threads; with 1 everything happens in the caller's thread.

    Returns:
        The results in the order of the items. The first exception is raised after the running items ended; those that
        have not started are dropped.
    """
    if workers == 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
