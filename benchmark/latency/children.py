"""Fresh processes that run a module of this package; errors are one line."""

from __future__ import annotations

import os

from benchmark.latency.timing import LatencyError
from benchmark.process import numerics
from tasks.system.child_process import ChildError, ChildProcess, child_environment, module_command
from tasks.system.cores import usable_cores


def run_child(module: str, text: str, timeout_s: float, task: str) -> str:
    """Runs a module with a text as its standard input, without portable numerics; returns its standard output.

    Raises:
        LatencyError: it died, or took more than `timeout_s`; `task` names its work.
    """
    # Portable numerics are for training alone: latency is measured with all of the processor's instructions.
    environment = child_environment(numerics.native_environment(os.environ))
    # Each process compiles again: the layout of a program is part of the variation.
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    # XLA counts cores by affinity alone.
    environment.setdefault("NPROC", str(usable_cores()))
    # The run's own process may hold most of an accelerator's memory; this one takes only what it needs.
    environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    late = f"the {task} process took more than LatencyConfig.timeout_s = {timeout_s:g} s"
    with ChildProcess(module_command(module), environment, task) as child:
        try:
            return child.output(text, timeout_s, late)
        except ChildError as error:
            raise LatencyError(f"latency: {error}") from None
