"""File locks: for running, building and reading, and for removing unused folders.

All are `flock` locks: the kernel releases them at the end of a process, so that a killed process never leaves a lock
behind. On file systems without such locks token arrays are built and read without them, and nothing is cleaned up;
a run's folder and its search need them.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from tasks.system.folders import remove_folder

LOCK_FILE = ".lock"
# The locks of a Linux system, one a line: number, kind, mode, access, process, device and inode.
_LOCKS = Path("/proc/locks")


def try_lock(file: IO[str] | int) -> bool:
    """Takes the exclusive lock of an open file or folder.

    Args:
        file: the file, or the descriptor of one; the lock lasts until it is closed.

    Returns:
        False where another process holds it.

    Raises:
        OSError: the file system has no locks (ENOLCK, ENOTSUP, ENOSYS), or they fail otherwise.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # NFS answers EACCES where others answer EWOULDBLOCK.
    except (BlockingIOError, PermissionError):
        return False
    return True


def is_locked(path: Path) -> bool | None:
    """Tells if a process holds the lock of a file, without touching the lock.

    The system lists the locks of the processes that this one can see: those of another machine or container are not
    among them.

    Returns:
        None where the system keeps no such list.
    """
    try:
        table = _LOCKS.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    if not path.exists():
        return False
    inode, lines = str(path.stat().st_ino), map(str.split, table.splitlines())
    # The device is not compared: some file systems list another one than `stat` names.
    return any(len(line) > 5 and line[1] == "FLOCK" and line[5].rpartition(":")[2] == inode for line in lines)


@contextmanager
def builder_lock(folder: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Lets one process at a time build in a folder; the others wait for it.

    Args:
        folder: the folder, which is created.
        waiting: called once if another process holds the lock.

    Yields:
        With the lock held.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # Without permission to write nothing is built, and existing folders can be used without a lock.
        with suppress(OSError):
            file = stack.enter_context((folder / LOCK_FILE).open("w"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def exclusive_lock(directory: Path) -> Iterator[None]:
    """Locks a directory while this process builds it.

    Args:
        directory: an existing directory.

    Yields:
        With the lock held.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def hold_shared_lock(directory: Path, reader: object) -> None:
    """Locks a directory for reading as long as an object lives (at most as long as the process).

    Args:
        directory: the directory.
        reader: the object that reads it.
    """
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        weakref.finalize(reader, os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_SH)


def remove_unused(directory: Path) -> bool:
    """Removes a directory unless a live process holds it.

    Returns:
        True where it was removed.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        if not try_lock(descriptor):
            return False
        remove_folder(directory)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
