"""The manifest of a run: code, versions, machine, settings. Standard library only, except jax for its devices.

The manifest is written before work starts. The program never reads it: it is for people who want to know later why two
runs differ.
"""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.system.cores import usable_cores
from tasks.system.repository import REPOSITORY

# Distribution -> module, for the packages whose version can change a number.
PACKAGES = {
    "ax-platform": "ax",
    "botorch": "botorch",
    "flax": "flax",
    "gin-config": "gin",
    "jax": "jax",
    "jaxlib": "jaxlib",
    "numpy": "numpy",
    "optax": "optax",
    "orbax-checkpoint": "orbax.checkpoint",
    "pydantic": "pydantic",
    "scipy": "scipy",
    "seqio": "seqio",
    "t5": "t5",
    "tensorflow-cpu": "tensorflow",
    "tensorflow-text": "tensorflow_text",
    "tokenizers": "tokenizers",
    "torch": "torch",
}
_ENVIRONMENT_PREFIXES = (
    "XLA_",
    "JAX_",
    "TF_XLA",
    "TF_ENABLE",
    "TF_NUM",
    "LIBTPU_",
    "TPU_",
    "CUDA_VISIBLE",
    "OMP_",
    "MKL_",
    "OPENBLAS_",
)
# Of these, what changes no number: folders of compiled programs, and names of devices and processes.
_WITHOUT_NUMBERS = (
    "JAX_COMPILATION_CACHE",
    "JAX_COORDINATOR",
    "JAX_NUM_PROCESSES",
    "JAX_PERSISTENT_CACHE",
    "JAX_PLATFORMS",
    "JAX_PROCESS_ID",
    "CUDA_VISIBLE",
)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _git(*words: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(REPOSITORY), *words], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def git_state() -> tuple[str, bool]:
    """Returns the commit, `unknown` where there is none, and True where files differ from it or that is unknown."""
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    if not commit:
        return "unknown", True
    return commit, changes is None or bool(changes)


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the key packages.

    An imported module states its own version, which is right even where two distributions own the same files. The
    others are looked up in the metadata, and absent ones are left out.
    """
    found = {"python": platform.python_version()}
    for distribution, module in PACKAGES.items():
        imported = getattr(sys.modules.get(module), "__version__", None)
        if isinstance(imported, str):
            found[distribution] = imported
            continue
        try:
            found[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _proc_value(path: str, key: str) -> str:
    for line in _read(Path(path)).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def machine() -> dict[str, str | int | float | None]:
    """Reads processor, memory, frequency governor and load of this machine; None for those not provided."""
    memory = _proc_value("/proc/meminfo", "MemTotal").removesuffix(" kB")
    return {
        "platform": platform.platform(),
        "cpu_model": _proc_value("/proc/cpuinfo", "model name") or platform.processor() or None,
        "cpu_count": os.cpu_count(),
        "cpu_usable": usable_cores(),
        "memory_bytes": int(memory) * 1024 if memory.isdigit() else None,
        "cpu_governor": _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")).strip() or None,
        "load_average_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def numerical_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables with which numerical libraries may compute other numbers."""
    names = (*_ENVIRONMENT_PREFIXES, "NPROC", "PJRT_NPROC", "NPY_DISABLE", "ONEDNN_", "ATEN_")
    return {
        name: value
        for name, value in sorted(environment.items())
        if name.startswith(names) and not name.startswith(_WITHOUT_NUMBERS)
    }


def collect(config_fingerprint: str, command: str, gin_text: str) -> dict[str, Any]:
    """Collects the manifest of a run before it starts, ready for JSON.

    Args:
        config_fingerprint: fingerprint of the configuration.
        command: the command line.
        gin_text: the configuration as one gin text.

    Returns:
        Plain dictionaries, strings, numbers and None.
    """
    commit, dirty = git_state()
    lock = REPOSITORY / "requirements.lock"
    return {
        "command": command,
        "config_fingerprint": config_fingerprint,
        "gin_text": gin_text,
        "git_commit": commit,
        "git_dirty": dirty,
        "versions": versions(),
        "requirements_lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else None,
        "machine": machine(),
        "environment": {k: v for k, v in sorted(os.environ.items()) if k.startswith(_ENVIRONMENT_PREFIXES)},
        "started_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def device_info() -> dict[str, str | int | float | bool | None]:
    """Describes the devices that jax computes on; imports jax.

    Returns:
        Values that are equal for all runs on one machine, as they are part of a record.
    """
    import jax

    first = jax.devices()[0]
    here = machine()
    return {
        "platform": first.platform,
        "device_kind": first.device_kind,
        "device_count": jax.device_count(),
        "process_count": jax.process_count(),
        "cpu_model": here["cpu_model"],
        "cpu_usable": here["cpu_usable"],
        "memory_bytes": here["memory_bytes"],
    }
