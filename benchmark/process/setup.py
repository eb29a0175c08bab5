"""The process as a whole: compiled programs, freed memory, garbage, time of compiling, and whose end is its own."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# The parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
# The option of Linux's prctl(2).
_DEATH_SIGNAL = 1


def keep_freed_memory() -> bool:
    """Lets this process use freed memory again instead of returning it to the system.

    XLA takes the work space of a program, gigabytes for a training step, from `malloc` at every call and frees it
    afterwards. By default glibc returns blocks of this size to the system at once, so that the next call finds fresh
    pages, which the kernel must clear one by one: a sixth of the time of a MiniLM-sized step on two cores. Steps of
    tiny models lose by it, as all threads then share one heap. Call it before JAX has started its threads. What the
    process once held it keeps until it ends.

    Returns:
        Whether the C library took the settings; False where it is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    # Blocks come from one growing heap (only there are large ones used again), never from mappings of their own, and
    # the end of the heap is never cut off.
    return all([mallopt(_ARENA_MAX, 1), mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1)])


def keep_programs(directory: Path) -> None:
    """Lets JAX keep compiled programs in a folder, so that the same program is compiled once for all calls of a run.

    Nothing happens where JAX was imported before, or where the environment names a folder already.
    """
    if "jax" not in sys.modules and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(directory.absolute())
        # Smaller programs are compiled as quickly as they are read.
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")


def collect_less_often() -> None:
    """Lets Python look for unreachable cycles less often: a fifth of the time of tracing a train step goes there.

    Tracing makes objects by the hundred thousand, nearly all of which stay, and what imports left is looked through
    again each time. Call it after the imports.
    """
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


def end_with_parent() -> None:
    """Lets this process be killed when the one that started it ends, however that ends; Linux only."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)


@contextmanager
def compile_seconds() -> Iterator[list[float]]:
    """Collects the seconds that the calling thread spends on tracing and compiling, or on reading compiled programs."""
    import jax

    thread = threading.get_ident()
    durations: list[float] = []

    def note(event: str, duration_secs: float, **_: str | int) -> None:
        if event.startswith("/jax/core/compile/") and threading.get_ident() == thread:
            durations.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield durations
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
