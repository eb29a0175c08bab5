"""Timing loops of the latency protocol; a timed function runs on input number `i` and returns nanoseconds."""

from __future__ import annotations

import contextlib
import gc
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmark.process.setup import compile_seconds
from tasks.system.errors import StageError

Timed = Callable[[int], int]

_BLOCK = 10
# Very quick calls end at this multiple of `pairs`, long before the time is over, since all samples are kept.
_MOST = 10


class LatencyError(StageError):
    """A failed or refused measurement; the message is one line."""


@dataclass(frozen=True)
class WarmUp:
    """The warm-up of a function: calls, seconds, and `settled`, True where calls got no faster at the end."""

    calls: int
    seconds: float
    settled: bool


def warm_up(run: Timed, max_seconds: float, first: int = 0) -> WarmUp:
    """Calls until two blocks of ten in a row improve by less than 5 %, at least 20 times, while the time lasts.

    Args:
        run: the function.
        max_seconds: no call begins later, except for the first two.
        first: number of the first input.

    Returns:
        The warm-up; `settled` is False where the time was over first.
    """
    best, calm, calls, started = float("inf"), 0, 0, time.perf_counter()
    block: list[int] = []
    while calls < 2 or time.perf_counter() - started < max_seconds:
        block.append(run(first + calls))
        calls += 1
        if len(block) == _BLOCK:
            median = statistics.median(block)
            calm = calm + 1 if median > 0.95 * best else 0
            best, block = min(best, median), []
            if calm >= 2:
                break
    return WarmUp(calls, time.perf_counter() - started, calm >= 2)


def time_pairs(
    candidate: Timed, reference: Timed, pairs: int, min_seconds: float, max_seconds: float, first: int = 0
) -> tuple[list[int], list[int]]:
    """Times pairs in the order candidate, reference, reference, candidate (ABBA).

    Args:
        candidate: timed function.
        reference: timed function; both get the same input in a pair, and every pair another one.
        pairs: the fewest pairs.
        min_seconds: the shortest time, unless there are ten times `pairs` before.
        max_seconds: after this time no further double pair begins, even if `pairs` are not reached; two are always
            made.
        first: number of the first input.

    Returns:
        Nanoseconds of both, an even number of each.
    """
    ours: list[int] = []
    theirs: list[int] = []
    started = time.perf_counter()
    while len(ours) < 2 or (
        (elapsed := time.perf_counter() - started) < max_seconds
        and len(ours) < _MOST * pairs
        and (len(ours) < pairs or elapsed < min_seconds)
    ):
        i = first + len(ours)
        ours.append(candidate(i))
        theirs.append(reference(i))
        theirs.append(reference(i + 1))
        ours.append(candidate(i + 1))
    return ours, theirs


@contextlib.contextmanager
def timed_window(label: str) -> Iterator[None]:
    """Guards a timed block: garbage collection is off, and compiling in it is an error.

    Args:
        label: names the window in the message.

    Raises:
        LatencyError: jax traced or compiled something inside it, so that its times are not those of the program.
    """
    gc.collect()
    collects = gc.isenabled()
    gc.disable()
    try:
        with compile_seconds() as compiled:
            yield
    finally:
        if collects:
            gc.enable()
    if compiled:
        raise LatencyError(f"{label}: jax traced or compiled inside the timed window, {sum(compiled):.3f} s of it")
