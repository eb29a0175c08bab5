"""Portable numerics: the environment in which every x86-64 processor with AVX2 computes the same bits.

Three things decide in which order a processor adds up: the width of its vectors, the approximations that only some
processors have, and the number of threads that a sum is divided among. XLA, oneDNN inside it, OpenBLAS, NumPy, MKL and
PyTorch each choose them by looking at the machine. The variables here choose for them. They are read once, when a
library is loaded, so they must be set before that; a child process inherits them. A process that measures latency must
not have them: `native_environment` removes them. Standard library only.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.system.errors import InputError

PORTABLE, NATIVE = "portable", "native"

# Variable with the former values, as JSON of name -> value, or null where a variable was not set.
MARKER = "AUTODISTILL_PORTABLE_NUMERICS"

# Loaded libraries have read their environment.
_LIBRARIES = ("jax", "jaxlib", "numpy", "scipy", "tensorflow", "torch")

_XLA_FLAGS = {
    # Wider vectors add up in another order.
    "xla_cpu_max_isa": "AVX2",
    # Reciprocal square roots by an approximation that differs between vendors.
    "xla_cpu_enable_platform_dependent_math": "false",
}
# Flags of XLA that change no number that a CPU computes.
_HARMLESS_FLAGS = ("xla_force_host_platform_device_count", "xla_dump", "xla_gpu", "xla_tpu")

# Variables of jax that change numbers, and are no part of a run's settings.
_JAX_VARIABLES = (
    "JAX_DEFAULT_DTYPE_BITS",
    "JAX_DEFAULT_MATMUL_PRECISION",
    "JAX_DEFAULT_PRNG_IMPL",
    "JAX_DISABLE_JIT",
    "JAX_DISABLE_MOST_OPTIMIZATIONS",
    "JAX_ENABLE_X64",
    "JAX_NUMPY_DTYPE_PROMOTION",
    "JAX_RANDOM_SEED_OFFSET",
    "JAX_THREEFRY_PARTITIONABLE",
)


def enforce(numerics: str, reduction_threads: int) -> None:
    """Puts the numerics of a run into force in this process and in those that it starts.

    Args:
        numerics: `portable` or `native`.
        reduction_threads: threads that sums are divided among; `native` takes all cores and ignores it.

    Raises:
        InputError: the processor lacks a feature, the environment changes numbers, or a numerical library was loaded
            before.
    """
    before = native_environment(os.environ)
    wanted = before if numerics == NATIVE else portable_environment(before, reduction_threads)
    if wanted == dict(os.environ):
        return
    if loaded := [name for name in _LIBRARIES if name in sys.modules]:
        raise InputError(
            f"RunConfig.numerics = {numerics!r}: too late in this process, which has loaded {', '.join(loaded)} with "
            f"{in_force(os.environ)} numerics; expected a process that has loaded none of {', '.join(_LIBRARIES)}"
        )
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    os.environ.update(wanted)


def in_force(environment: Mapping[str, str]) -> str:
    """Names the numerics that an environment asks for."""
    return PORTABLE if MARKER in environment else NATIVE


def threads_in_force(environment: Mapping[str, str]) -> int | None:
    """Gives the threads that portable numerics divide sums among; None with native ones."""
    return int(environment["PJRT_NPROC"]) if MARKER in environment else None


def portable_environment(environment: Mapping[str, str], reduction_threads: int) -> dict[str, str]:
    """Makes an environment with portable numerics.

    Args:
        environment: one without.
        reduction_threads: threads that sums are divided among.

    Returns:
        The environment with the variables that make numerics portable, and with their former values in `MARKER`.

    Raises:
        InputError: the processor lacks AVX2 or FMA, or a variable changes numbers.
    """
    if missing := missing_features():
        raise InputError(
            f"RunConfig.numerics = 'portable': this processor ({platform.machine()}) has no {', '.join(missing)}; "
            "expected x86-64 with AVX2 and FMA, or --gin.RunConfig.numerics=\"'native'\""
        )
    for name in _JAX_VARIABLES:
        if name in environment:
            raise InputError(
                f"RunConfig.numerics = 'portable': {name}={environment[name]} changes what jax computes; unset it, or "
                "choose --gin.RunConfig.numerics=\"'native'\""
            )
    values = {
        "XLA_FLAGS": _flags(environment.get("XLA_FLAGS", "")),
        # The size of XLA's thread pool. The first one counts where both are set.
        "PJRT_NPROC": str(reduction_threads),
        "NPROC": str(reduction_threads),
        # The products inside XLA that oneDNN computes.
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ONEDNN_CPU_ISA_HINTS": "NO_HINTS",
        "ONEDNN_DEFAULT_FPMATH_MODE": "STRICT",
        # Linear algebra of NumPy and SciPy: a Gaussian process of a search, intervals.
        "OPENBLAS_CORETYPE": "Haswell",
        "OPENBLAS_NUM_THREADS": "1",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
        # PyTorch, with which Ax's own generator computes. MKL keeps this branch on processors of all vendors.
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_CBWR": "COMPATIBLE",
        "MKL_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    replaced = {name: environment.get(name) for name in values}
    return {**environment, **values, MARKER: json.dumps(replaced, sort_keys=True)}


def native_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Restores an environment to its state before portable numerics; leaves any other one as it is."""
    found = dict(environment)
    if (text := found.pop(MARKER, None)) is not None:
        for name, value in json.loads(text).items():
            found.pop(name, None)
            if value is not None:
                found[name] = value
    return found


def changed_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Gives the variables of portable numerics in an environment, with `MARKER`; none in a native one."""
    names = json.loads(environment[MARKER]) if MARKER in environment else {}
    return {name: environment[name] for name in (*names, MARKER) if name in environment}


def missing_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> Sequence[str]:
    """Lists the features that portable numerics need and this processor lacks; none where that is not known."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return ("x86-64 instructions",)
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), None)
    return () if flags is None else [name.upper() for name in ("avx2", "fma") if name not in flags]


def _flags(given: str) -> str:
    """Adds the flags of portable numerics to those of XLA.

    Raises:
        InputError: one of the given flags may change a number.
    """
    ours = [f"--{name}={value}" for name, value in _XLA_FLAGS.items()]
    kept = [flag for flag in given.split() if flag not in ours]
    for flag in kept:
        if not flag.lstrip("-").startswith(_HARMLESS_FLAGS):
            raise InputError(
                f"RunConfig.numerics = 'portable': XLA_FLAGS={given}: {flag} may change what is computed; accepted: "
                f"flags that begin with {', '.join('--' + name for name in _HARMLESS_FLAGS)}; unset it, or choose "
                "--gin.RunConfig.numerics=\"'native'\""
            )
    return " ".join([*kept, *ours])
