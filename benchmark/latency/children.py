"""Runs a module of this package in a fresh process, and says in one line what went wrong there."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmark.latency.timing import LatencyError
from benchmark.process import numerics
from tasks.system.repository import REPOSITORY


def run_child(module: str, text: str, timeout_s: float, what: str) -> str:
    """Starts `python -m MODULE`, without portable numerics, and waits for its end.

    Args:
        module: the module.
        text: its standard input.
        timeout_s: after this time it is killed.
        what: what the process does, for messages.

    Returns:
        Its standard output.

    Raises:
        LatencyError: it died or took too long.
    """
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    # Portable numerics are for training alone: a latency is that of the whole processor.
    environment = {**numerics.native_environment(os.environ), "PYTHONPATH": path}
    # Each process compiles anew: how a program was laid out this time is part of what varies.
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    # The run's own process may hold most of an accelerator's memory; this one takes only what it needs.
    environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        child = subprocess.run(
            [sys.executable, "-m", module],
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env=environment,
            cwd=REPOSITORY,
            check=False,
        )
    except subprocess.TimeoutExpired:
        limit = f"LatencyConfig.timeout_s = {timeout_s:g} s"
        raise LatencyError(f"latency: the {what} process took more than {limit}") from None
    if child.returncode:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        raise LatencyError(f"latency: the {what} process ended with code {child.returncode}: {last}")
    return child.stdout
