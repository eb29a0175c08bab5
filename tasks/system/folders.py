"""Folders that are removed or emptied, also where a symbolic link stands in their place."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path


def remove_folder(folder: Path, *, ignore_errors: bool = False) -> None:
    """Removes a folder with its content, so that its place is free; nothing happens where there is none.

    Of a symbolic link the link alone is removed: what it points to may belong to another run.

    Args:
        folder: the place.
        ignore_errors: leaves what cannot be removed.

    Raises:
        OSError: something cannot be removed.
    """
    with suppress(OSError) if ignore_errors else suppress(FileNotFoundError):
        if folder.is_symlink():
            folder.unlink()
        else:
            shutil.rmtree(folder, ignore_errors=ignore_errors)


def empty_cache_folder(folder: Path) -> None:
    """Removes a folder of files that can be made again; a symbolic link to one stays, and its files are removed.

    A cache may have been put on another disk. What cannot be removed is left.
    """
    if not folder.is_symlink():
        remove_folder(folder, ignore_errors=True)
        return
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_file():
                path.unlink(missing_ok=True)
