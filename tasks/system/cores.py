"""Processor cores that this process may use: those of its affinity, within the quota of its container."""

from __future__ import annotations

import os
from pathlib import Path

from tasks.system.control_groups import folders, read_text


def usable_cores(root: Path = Path("/")) -> int:
    """Counts the threads that can compute all the time: whole cores of affinity and quota, at least 1.

    A thread more than the quota has cores for would be stopped for a part of each period, usually 0.1 s, and with it
    all that wait for its result.

    Args:
        root: where `proc` and `sys` are.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = quota_cores(root)
    return cores if quota is None else max(1, min(cores, int(quota)))


def quota_cores(root: Path) -> float | None:
    """Reads the processor time that the control groups of this process allow, in cores.

    Version 2 has it in `cpu.max`, version 1 in `cpu.cfs_quota_us` and `cpu.cfs_period_us`. A group has no more than
    those above it, so that the least counts. A container often sees its own group as the top one, whatever path
    `/proc/self/cgroup` names; the folder at the top is therefore always looked at.

    Args:
        root: where `proc` and `sys` are.

    Returns:
        The quota, None where there is none.
    """
    quotas = [_version_2(folder) if new else _version_1(folder) for folder, new in folders(root, "cpu")]
    return min((quota for quota in quotas if quota is not None), default=None)


def _version_2(folder: Path) -> float | None:
    return _ratio(read_text(folder / "cpu.max").split())


def _version_1(folder: Path) -> float | None:
    return _ratio([read_text(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period")])


def _ratio(values: list[str]) -> float | None:
    """Divides quota by period; None for `max`, -1 or what is no pair of numbers."""
    if len(values) != 2 or not all(value.strip().isdigit() for value in values):
        return None
    quota, period = map(int, values)
    return quota / period if quota and period else None
