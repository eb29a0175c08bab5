"""Huge pages for the work space of compiled programs. Standard library only."""

from __future__ import annotations

import os
import sys
from pathlib import Path

TUNABLE = "glibc.malloc.hugetlb=1"
_VARIABLE = "GLIBC_TUNABLES"
_KERNEL_MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_OLDEST_GLIBC = (2, 35)


def restart_with_huge_pages() -> None:
    """Replaces this process by the same command with huge pages, where the system has them on request only.

    XLA takes the work space of a program, gigabytes for a training step, from `malloc` at every call and frees it
    afterwards; glibc returns blocks of this size to the kernel at once, so every call waits for fresh pages, one fault
    for each 4 KiB. Pages of 2 MiB take these faults away. glibc asks for them if an environment variable says so when a
    process starts, which is why this function must start it again; call it first in a script. Child processes inherit
    the variable. Elsewhere (no glibc, huge pages always or never) nothing happens.
    """
    if _wanted(os.environ.get(_VARIABLE, "")):
        given = os.environ.get(_VARIABLE)
        environment = {**os.environ, _VARIABLE: f"{given}:{TUNABLE}" if given else TUNABLE}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def _wanted(tunables: str) -> bool:
    """Whether a process with these tunables would gain from starting again."""
    if "glibc.malloc.hugetlb" in tunables or "[madvise]" not in _read(_KERNEL_MODE):
        return False
    try:
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        return name == "glibc" and tuple(int(part) for part in version.split(".")[:2]) >= _OLDEST_GLIBC
    except (ValueError, OSError):
        return False


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
