"""How the process treats freed memory."""

from __future__ import annotations

import ctypes

# The parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Lets this process use freed memory again instead of returning it to the system.

    XLA takes the work space of a program, gigabytes for a training step, from `malloc` at every call and frees it
    afterwards. By default glibc returns blocks of this size to the system at once, so that the next call finds fresh
    pages, which the kernel must clear one by one: a sixth of a step's time on a CPU. Call it at the start of a program,
    before JAX has started its threads. What the process once held it keeps until it ends.

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
