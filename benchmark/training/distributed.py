"""Several processes that work on one run: joining, waiting, and the decisions of process 0.

All of them run the same command on a shared run folder. Process 0 is the leader: it alone writes (but checkpoints, of
which each process writes its part) and decides wherever the processes could see different things. In a process that
never joined others everything here does nothing, and jax is not imported.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, TypeVar

from tasks.system.errors import INTERRUPTED, InputError

Result = TypeVar("Result")

ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"

# Far beyond any stage. A process that dies ends the others long before.
WAIT_S = 14 * 24 * 3600


def join(environment: Mapping[str, str] = os.environ) -> None:
    """Joins the processes of a run; before anything else of jax.

    Args:
        environment: `JAX_COORDINATOR_ADDRESS` (host:port of process 0), `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`
            together, or none of them on a TPU pod, under Slurm, Open MPI or Kubernetes, where jax finds them.

    Raises:
        InputError: some of them are missing or malformed, or jax finds no cluster.
    """
    given = {name: environment[name] for name in (ADDRESS, COUNT, INDEX) if environment.get(name)}
    if missing := [name for name in (ADDRESS, COUNT, INDEX) if given and name not in given]:
        raise InputError(f"--distributed: {missing[0]} is not set; {ADDRESS}, {COUNT} and {INDEX} belong together")
    if given and not given[ADDRESS].rpartition(":")[2].isdigit():
        raise InputError(f"--distributed: {ADDRESS}={given[ADDRESS]}: expected host:port of process 0")
    if given and not (given[COUNT].isdigit() and given[INDEX].isdigit() and int(given[INDEX]) < int(given[COUNT])):
        wanted = "a number of processes and a process number from 0 below it"
        raise InputError(f"--distributed: {COUNT}={given[COUNT]}, {INDEX}={given[INDEX]}: expected {wanted}")
    import jax

    if given:
        jax.distributed.initialize(
            given[ADDRESS], int(given[COUNT]), int(given[INDEX]), cluster_detection_method="deactivate"
        )
        return
    try:
        jax.distributed.initialize()
    except ValueError as error:
        raise InputError(f"--distributed: no cluster was found ({error}); set {ADDRESS}, {COUNT} and {INDEX}") from None


def _joined_jax() -> ModuleType | None:
    """Gives the module jax in a process that joined others, else None."""
    jax = sys.modules.get("jax")
    return jax if jax is not None and jax.distributed.is_initialized() else None


def process_index() -> int:
    """Gives the number of this process, from 0."""
    jax = _joined_jax()
    return int(jax.process_index()) if jax else 0


def process_count() -> int:
    """Counts the processes of the run."""
    jax = _joined_jax()
    return int(jax.process_count()) if jax else 1


def is_leader() -> bool:
    """Returns True in process 0, which writes and decides."""
    return process_index() == 0


def wait(name: str) -> None:
    """Waits until every process has called it; `name` must be the same in all of them."""
    if process_count() > 1:
        import orbax.checkpoint as ocp

        # The coordinator keeps the barrier: a collective of the devices would time out while a long stage runs.
        ocp.multihost.get_barrier_sync_fn()(key=f"wait {name}", timeout_ms=WAIT_S * 1000)


def broadcast(value: Any) -> Any:
    """Gives every process the value of process 0, which JSON must be able to hold."""
    if process_count() == 1:
        return value
    import numpy as np
    from jax.experimental import multihost_utils

    wait("broadcast")
    text = np.frombuffer(json.dumps(value if is_leader() else None).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    buffer = np.zeros(size, np.uint8)
    if is_leader():
        buffer[:] = text
    return json.loads(multihost_utils.broadcast_one_to_all(buffer).tobytes())


def one_at_a_time(work: Callable[[Any], Result]) -> Callable[[Any], Result]:
    """Makes process 0 announce each piece of work, a JSON value, so that the processes in `follow` do it too.

    Threads take turns: programs that span devices must start in the same order on all of them.
    """
    lock = threading.Lock()

    def announced(job: Any) -> Result:
        with lock:
            broadcast({"job": job})
            return work(job)

    return announced


def dismiss() -> None:
    """Ends `follow` in the other processes; for process 0."""
    broadcast(None)


def follow(work: Callable[[Any], object]) -> None:
    """Does the work that process 0 announces until it dismisses the others; for the other processes."""
    while (announced := broadcast(None)) is not None:
        # Work that fails, fails in all processes alike; process 0 says so.
        with contextlib.suppress(RuntimeError):
            work(announced["job"])


def leave(code: int) -> None:
    """Ends a process that failed without waiting for the others, who notice and end too; 0 does nothing.

    After an interrupt it does not wait for trials and systems in its threads either, which would train to their end
    while the same command already continues the run. What they have finished is on disk.
    """
    if code == INTERRUPTED or (code and process_count() > 1):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
