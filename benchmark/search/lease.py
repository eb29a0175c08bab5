"""The right to write a file, held by one process at a time."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import IO, Any

from tasks.system.errors import StageError
from tasks.system.file_lock import try_lock

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def identity() -> dict[str, Any]:
    """Identifies this process: host, boot of the machine (empty where the system does not say), pid and start."""
    boot = _BOOT_ID.read_text(encoding="ascii").strip() if _BOOT_ID.exists() else ""
    pid = os.getpid()
    return {"host": socket.gethostname(), "boot_id": boot, "pid": pid, "started": _start_ticks(pid)}


def _start_ticks(pid: int) -> int | None:
    """Returns the start of a process of this machine, in clock ticks since boot; None for no such process.

    Process numbers are reused; pairs of number and start are not.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the name in parentheses, which may hold spaces; the start is the 22nd.
    return int(stat.rpartition(")")[2].split()[19])


class Lease:
    """A lock on `path`, a small file next to the one to be written, held until `release` or the end of the process.

    The system's file lock decides, and it dies with its holder. The file says who that is. Some network file systems
    keep locks for each machine alone, so a holder of this machine's boot that is still alive counts as well.
    """

    def __init__(self, path: Path) -> None:
        """Takes the lease.

        Raises:
            StageError: another process holds it, or the file system has no locks.
        """
        self.path = path
        self._file: IO[str] | None = path.open("a+", encoding="utf-8")
        try:
            locked, holder = try_lock(self._file), self._holder()
        except OSError as error:
            self._file.close()
            raise StageError(
                f"{path}: its file system has no file locks ({error.strerror}); choose a folder on one that has"
            ) from None
        if not locked or _is_alive(holder):
            self._file.close()
            raise StageError(f"{path}: {_describe_holder(holder)} writes here; wait for it or end it")
        self._file.truncate(0)
        json.dump(identity(), self._file)
        self._file.flush()

    def _holder(self) -> dict[str, Any]:
        assert self._file
        self._file.seek(0)
        try:
            holder = json.load(self._file)
        except ValueError:
            return {}
        return holder if isinstance(holder, dict) else {}

    def release(self) -> None:
        """Releases the lease; a second call does nothing."""
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None


def _describe_holder(holder: dict[str, Any]) -> str:
    return f"process {holder['pid']} on {holder.get('host')}" if "pid" in holder else "another process"


def _is_alive(holder: dict[str, Any]) -> bool:
    """Returns True where the holder is another living process of this boot of this machine."""
    me = identity()
    if not holder.get("boot_id") or any(holder.get(key) != me[key] for key in ("host", "boot_id")):
        return False
    pid = holder.get("pid")
    if not isinstance(pid, int) or pid == me["pid"]:
        return False
    return holder.get("started") is not None and _start_ticks(pid) == holder["started"]
