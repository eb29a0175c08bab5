"""The reader of official files, and of the microworld, which writes such files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.files.layouts import find, missing
from tasks.files.readers import read_examples

if TYPE_CHECKING:
    from tasks.catalogue import TaskInfo

__all__ = ["missing_split", "read_examples", "task_files"]

missing_split = missing


def task_files(info: TaskInfo, root: Path, split: str) -> tuple[Path, ...]:
    """Lists the files that decide the content of a split of a task; none if it is missing."""
    files = find(info, root, split)
    return files.paths if files else ()
