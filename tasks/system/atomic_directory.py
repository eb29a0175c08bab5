"""Atomic making of folders: a killed process leaves nothing incomplete in their place."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.system import file_lock
from tasks.system.folders import remove_folder

BUILDING = ".building-"


@contextmanager
def atomic_directory(target: Path) -> Iterator[Path]:
    """Builds a folder next to its place and moves it there at the end; the second of two builders discards its own.

    Yields:
        An empty folder to build in.
    """
    with temporary_directory(target.parent, target.name) as temporary:
        yield temporary
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():
                raise


@contextmanager
def temporary_directory(parent: Path, name: str) -> Iterator[Path]:
    """Makes a locked folder in `parent`, whose name tells that it is being built, and removes what is left of it.

    Yields:
        An empty folder.
    """
    parent.mkdir(parents=True, exist_ok=True)
    temporary = parent / f"{BUILDING}{name}-{secrets.token_hex(4)}"
    temporary.mkdir()
    with file_lock.exclusive_lock(temporary):
        try:
            yield temporary
        finally:
            remove_folder(temporary, ignore_errors=True)
