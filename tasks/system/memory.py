"""Memory that this process may use: what the system has available, within the limit of its container."""

from __future__ import annotations

from pathlib import Path

from tasks.system.control_groups import folders, read_text


def available_bytes(root: Path = Path("/")) -> int | None:
    """Estimates how many bytes a new process can take before the system swaps or a container kills it.

    It is `MemAvailable` of Linux, which counts the pages of files that can be dropped, or what the control groups of
    this process leave, whichever is less.

    Args:
        root: where `proc` and `sys` are.

    Returns:
        A number of bytes; None where the system does not say.
    """
    rooms = [room for room in (_system_room(root), group_room(root)) if room is not None]
    return min(rooms, default=None)


def _system_room(root: Path) -> int | None:
    for line in read_text(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if name == "MemAvailable" and words and words[0].isdigit():
            return int(words[0]) * 1024
    return None


def group_room(root: Path) -> int | None:
    """Computes the bytes that the control groups of this process leave: the least of limit minus use.

    The use of a group includes pages of files, which the system drops when memory is short; those that were not used
    lately (`inactive_file`) do not count.

    Args:
        root: where `proc` and `sys` are.

    Returns:
        A number of bytes; None where there is no limit.
    """
    rooms = []
    for folder, new in folders(root, "memory"):
        limit_name, use_name = (
            ("memory.max", "memory.current") if new else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        )
        limit, use = (read_text(folder / name).strip() for name in (limit_name, use_name))
        # `max` is version 2's word for no limit; version 1 has a number near 2^63.
        if limit.isdigit() and int(limit) < 2**60:
            used = int(use) if use.isdigit() else 0
            rooms.append(max(0, int(limit) - max(0, used - _dropped_first(folder))))
    return min(rooms, default=None)


def _dropped_first(folder: Path) -> int:
    """Reads the bytes of files that the system drops first."""
    for line in read_text(folder / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file") and value.strip().isdigit():
            return int(value)
    return 0
