"""Control groups of this process, by which a container limits what it may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("sys/fs/cgroup")


def folders(root: Path, controller: str) -> Iterator[tuple[Path, bool]]:
    """Yields the folders of this process's groups, and whether they are of version 2.

    A group has no more than those above it. A container often sees its own group as the top one, whatever path
    `/proc/self/cgroup` names; the folder at the top is therefore always among them.

    Args:
        root: where `proc` and `sys` are.
        controller: the resource in version 1, such as `cpu` or `memory`; version 2 has one folder for all.
    """
    for line in read_text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (line + "::").split(":")[:3]
        new = not controllers
        if not new and controller not in controllers.split(","):
            continue
        tops = ("", "unified") if new else (controllers, controller)
        group = Path(path.strip("/"))
        for top in dict.fromkeys(root / _CGROUPS / name for name in tops):
            for folder in dict.fromkeys((group, *group.parents)):
                yield top / folder, new


def read_text(path: Path) -> str:
    """Reads a file of the system; '' where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
