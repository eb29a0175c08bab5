"""Ahead-of-time compilation for TPUs without a TPU, through libtpu, and the compiler's memory figures.

For child processes only: libtpu writes to standard error, and cannot be unloaded.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.system.errors import StageError

if TYPE_CHECKING:
    import jax

# The environment in which libtpu looks for no TPU and no other host, and can be loaded by several processes.
ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_ID": "0",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "JAX_PLATFORMS": "cpu",
}

# Generations whose chips have two cores that jax shows as one device. Their hosts have 2 x 2 x 1 chips.
_MEGACORE = ("v4", "v5p")


@dataclass(frozen=True)
class Memory:
    """Bytes that a program takes on each device, as the compiler lays them out, padding included.

    Attributes:
        arguments: its inputs.
        results: its outputs.
        shared: the part of the results that reuses donated arguments.
        temporaries: its workspace.
        code: the program itself.
    """

    arguments: int
    results: int
    shared: int
    temporaries: int
    code: int

    @property
    def new_results(self) -> int:
        """Results that do not reuse arguments."""
        return self.results - self.shared

    @property
    def work(self) -> int:
        """Memory used only while it runs, in addition to arguments and results."""
        return self.temporaries + self.code


@dataclass(frozen=True)
class Compiled:
    """A compiled program: seconds of compiling, memory, its optimised text, and the shardings of its results."""

    seconds: float
    memory: Memory
    text: str
    places: Any


def devices(topology: str, cores: int = 2) -> Sequence[jax.Device]:
    """Returns the devices of a slice, such as `v4:4x4x4`, to compile for.

    Args:
        topology: the slice.
        cores: cores of one device, where the generation leaves a choice; v4 does.

    Raises:
        StageError: libtpu is not installed, or knows no such slice.
    """
    from jax.experimental import topologies

    generation = topology.partition(":")[0]
    joined = generation in _MEGACORE and cores == 2
    megacore = {"chip_config_name": "megacore", "chips_per_host_bounds": (2, 2, 1)} if joined else {}
    try:
        found = topologies.get_topology_desc(topology_name=topology, platform="tpu", **megacore)
    # jax passes on errors of libtpu, which have no common class.
    except Exception as error:
        raise StageError(f"topology {topology!r}: libtpu refuses it: {first_line(error)}") from error
    return list(found.devices)


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or its class name where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def compile_program(function: Any, arguments: Sequence[Any]) -> Compiled:
    """Compiles a jitted function.

    Args:
        function: the function.
        arguments: its arguments; arrays as `jax.ShapeDtypeStruct` with a sharding over the devices.

    Raises:
        jax.errors.JaxRuntimeError: the compiler refuses it, for example because it needs more memory than there is.
    """
    started = time.perf_counter()
    compiled = function.lower(*arguments).compile()
    seconds = time.perf_counter() - started
    return Compiled(seconds, read_memory(compiled.memory_analysis()), compiled.as_text(), compiled.output_shardings)


def read_memory(analysis: object) -> Memory:
    """Converts the result of `memory_analysis()` of a compiled program.

    Raises:
        StageError: the compiler gave no figures.
    """
    names = ("argument", "output", "alias", "temp", "generated_code")
    values = [int(getattr(analysis, f"{name}_size_in_bytes", -1)) for name in names]
    if min(values) < 0:
        raise StageError(f"the compiler gave no memory figures: {', '.join(names)} are {values}")
    return Memory(*values)
