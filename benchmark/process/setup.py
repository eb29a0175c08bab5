"""Process-wide settings: compiled programs, absent TPUs, malloc, garbage collection, compile timing, exits."""

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
# PCI's number of the vendor of TPUs.
_GOOGLE = "0x1ae0"


def keep_freed_memory() -> bool:
    """Makes this process reuse freed memory instead of returning it to the system.

    XLA takes the work space of a program, gigabytes for a training step, from `malloc` at every call and frees it
    afterwards. By default glibc returns blocks of this size to the system at once, so that the next call finds fresh
    pages, which the kernel must clear one by one: a sixth of the time of a MiniLM-sized step on two cores. Steps of
    tiny models lose by it, as all threads then share one heap. Call it before JAX has started its threads. The
    process keeps its largest heap until it ends.

    Returns:
        True where the C library accepted the settings; False where it is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    # Blocks come from one growing heap (only there are large ones used again), never from separate mappings, and the
    # end of the heap is never cut off.
    return all([mallopt(_ARENA_MAX, 1), mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1)])


def keep_programs(directory: Path) -> None:
    """Sets the folder of JAX's compilation cache, so that a program is compiled once for all calls of a run.

    Nothing happens where JAX was imported before, or where the environment names a folder already.
    """
    if "jax" not in sys.modules and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(directory.absolute())
        # Smaller programs are compiled as quickly as they are read.
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")


def expect_no_tpu(devices: Path = Path("/sys/bus/pci/devices")) -> None:
    """Tells libtpu, where it is installed on a machine without TPU, that this machine is alone.

    jax asks every installed platform for its devices, and libtpu prints an error then because nobody has told it its
    hosts, and a warning because it does not know how many chips they have. Where a TPU is, or the environment names
    hosts, or jax was imported before, nothing is changed.

    Args:
        devices: the folder in which Linux lists PCI devices; TPUs are Google's.
    """
    if "jax" in sys.modules or "TPU_WORKER_HOSTNAMES" in os.environ:
        return
    for path in devices.glob("*/vendor"):
        with suppress(OSError):
            if path.read_text().strip() == _GOOGLE:
                return
    os.environ["TPU_WORKER_HOSTNAMES"] = "localhost"
    os.environ.setdefault("TPU_WORKER_ID", "0")
    # One chip. Programs that are compiled for other chips name theirs and stay the same.
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-1")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")


def collect_less_often() -> None:
    """Makes Python look for unreachable cycles less often, which takes a fifth of the time of tracing a train step.

    Tracing makes objects by the hundred thousand, nearly all of which stay, and each collection visits the objects of
    all imports again. Call it after the imports.
    """
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


def end_with_parent() -> None:
    """Has this process killed when its parent ends, however that ends; Linux only."""
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
