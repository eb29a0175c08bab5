"""Upkeep of a folder of token arrays: finding damage, removing unused folders.

Trainers check sizes only (`tasks.arrays.token_arrays.load`). The data stage digests every file before each reuse,
because a changed byte changes neither the size nor, if the disk changed it, the time of the file. docs/performance.md
has the cost.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.arrays import token_arrays
from tasks.encoding import vocabulary
from tasks.system import file_lock
from tasks.system.atomic_directory import BUILDING
from tasks.system.errors import DataError
from tasks.system.folders import remove_folder

if TYPE_CHECKING:
    from tasks.materialize.progress import Progress

DATA_FILE = "data.json"

_VOCABULARY = re.compile(r"vocabulary-[0-9a-f]{12}(\.txt)?")
_CONTAMINATION = re.compile(r"contamination-[0-9a-f]{12}\.json")
# Files that `write_bytes` leaves if it is killed between its two steps.
_TEMPORARY = re.compile(r"\.(data\.json|vocabulary-[0-9a-f]{12}\.txt|contamination-[0-9a-f]{12}\.json)-[0-9a-f]{8}")


def read_index(output: Path) -> dict[str, Any] | None:
    """Reads `data.json`.

    Returns:
        Its content, or None where there is none that can be read.
    """
    try:
        index = json.loads((output / DATA_FILE).read_text(encoding="utf-8"))
        return index if isinstance(index, dict) else None
    except (OSError, ValueError):
        return None


def array_names(index: dict[str, Any]) -> list[str]:
    """Lists the array folders that an index refers to.

    Returns:
        The names of the folders.
    """
    splits = [index["pretrain"], *index["tasks"].values()]
    return [name for directories in splits for name in directories.values()]


def intact(output: Path) -> bool:
    """Reads everything that `data.json` refers to and compares it with the digests.

    Returns:
        True where all is as it was written.
    """
    index = read_index(output)
    try:
        return (
            index is not None
            and vocabulary_is_intact(output, index)
            and not any(token_arrays.damage(output / name) for name in array_names(index))
        )
    except (KeyError, TypeError, AttributeError):
        return False


def vocabulary_is_intact(output: Path, index: dict[str, Any], name: str = "") -> bool:
    """Compares the vocabulary with its digest.

    Args:
        output: the folder of the data stage.
        index: the content of its `data.json`.
        name: the file to check, "" for that of the index; another file has no digest there and counts as intact.

    Returns:
        True where the file exists and is as it was written.
    """
    try:
        if name and name != index["vocabulary"]["path"]:
            return True
        return is_vocabulary(output / index["vocabulary"]["path"], index["vocabulary"]["digest"])
    except (KeyError, TypeError):
        return False


def is_vocabulary(path: Path, digest: str) -> bool:
    """Tells whether a kept vocabulary, a file or a folder of tokenizer files, has this digest."""
    try:
        if path.is_dir():
            return vocabulary.load(path).digest == digest
        return hashlib.sha256(path.read_bytes()).hexdigest() == digest
    except (OSError, DataError):
        return False


def usable(directory: Path, progress: Progress) -> bool:
    """Checks that an array folder exists and is undamaged; removes a damaged one.

    Args:
        directory: the folder.
        progress: gets a line about a damaged folder.

    Returns:
        True where it can be used; otherwise its place is free.
    """
    if not directory.exists():
        return False
    found = token_arrays.damage(directory)
    if found is None:
        return True
    progress(f"{found}; building it again")
    remove_folder(directory)
    return False


def remove_leftovers(output: Path, index: dict[str, Any]) -> None:
    """Removes half-built folders of killed processes; arrays, vocabularies and counts that nothing refers to.

    The caller holds the folder's builder lock. Folders that a live process builds or reads stay.
    """
    remove_half_built(output)
    wanted = {*array_names(index), index["vocabulary"]["path"]}
    wanted |= {entry["file"] for entry in index.get("contamination", {}).values()}
    for entry in output.iterdir():
        if entry.name in wanted:
            continue
        if entry.is_dir() and ((entry / token_arrays.META_FILE).is_file() or _VOCABULARY.fullmatch(entry.name)):
            file_lock.remove_unused(entry)
        elif entry.is_file() and any(
            pattern.fullmatch(entry.name) for pattern in (_VOCABULARY, _CONTAMINATION, _TEMPORARY)
        ):
            with suppress(OSError):
                entry.unlink()


def remove_half_built(folder: Path) -> None:
    """Removes half-built folders of killed processes.

    Args:
        folder: a folder in which directories are built, its builder lock held.
    """
    for entry in folder.glob(f"{BUILDING}*"):
        file_lock.remove_unused(entry)
