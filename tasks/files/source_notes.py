"""Notes on the official files that arrays were made of: content, number of examples, rows that were skipped.

A note lies next to the arrays, so that every run that uses them has it, also if another run made them. It has official
names, not paths of a machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.catalogue import TASKS, TaskInfo
from tasks.files import layouts, readers
from tasks.files.known_files import KNOWN_FILES
from tasks.files.text_files import content_digest

if TYPE_CHECKING:
    from tasks.files.bad_rows import OnBadRow, ReadingReport

NOTE_FILE = "source.json"

Notes = dict[str, dict[str, dict[str, Any]]]


def write(directory: Path, info: TaskInfo, root: Path, split: str, on_bad_row: OnBadRow) -> None:
    """Reads the files of a split and writes the note on them.

    Args:
        directory: the folder of the arrays.
        info: the task.
        root: the data root.
        split: `train`, `validation` or `test`.
        on_bad_row: as for `tasks.files.readers.read_examples`.

    Raises:
        DataError: if the split cannot be read.
    """
    files = layouts.require(info, root, split)
    names = dict(zip(files.official_names, files.paths, strict=True))
    write_note(directory, names, readers.report(info, files, split, on_bad_row))


def write_note(directory: Path, files: Mapping[str, Path], found: ReadingReport) -> None:
    """Writes the note on a split that was read: the names of its files, and what the reader found."""
    note = {
        "files": {name: content_digest(path)[0] for name, path in files.items()},
        "examples": found.examples,
        "skipped": found.skipped,
        "reasons": list(found.reasons),
    }
    (directory / NOTE_FILE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")


def load(output: Path, tasks: Mapping[str, Mapping[str, str]]) -> Notes:
    """Collects the notes of a data folder.

    Args:
        output: the folder of `data.json`.
        tasks: task name -> split -> folder of its arrays in `output`, as in `data.json`.

    Returns:
        Task name -> split -> `files` (official name -> sha256 of the content), `examples`, `skipped` (number of rows)
        and `reasons` (of the first few); arrays that come from elsewhere have none.
    """
    notes: Notes = {}
    for name, splits in tasks.items():
        for split, directory in splits.items():
            path = output / directory / NOTE_FILE
            if path.is_file():
                notes.setdefault(name, {})[split] = json.loads(path.read_text(encoding="utf-8"))
    return notes


def wrong_count(info: TaskInfo, split: str, count: int) -> str:
    """Compares a number of examples with the official one.

    Args:
        info: the task.
        split: the split.
        count: the number of examples that were read.

    Returns:
        The mistake in words, "" where there is none.
    """
    official = info.split_sizes[split]
    return "" if abs(count - official) <= info.size_tolerance else f"{count:,} examples, {official:,} are official"


def warnings(notes: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """Lists the differences of the data of a run from the official data, known and possible ones.

    Returns:
        One line for each file with unknown content, each wrong number of examples, and each file with skipped rows.
        Of own tasks nothing is official.
    """
    lines = []
    for task, splits in notes.items():
        for split, note in splits.items():
            table = next(iter(note["files"]))
            if task in TASKS:
                lines += [
                    f"{name}: content {digest} is not that of a known copy"
                    for name, digest in note["files"].items()
                    if digest not in KNOWN_FILES or KNOWN_FILES[digest].name != name
                ]
                if problem := wrong_count(TASKS[task], split, note["examples"]):
                    lines.append(f"{table}: {problem}")
            if note["skipped"]:
                lines.append(f"{table}: bad rows skipped: {note['skipped']:,}; the first: {note['reasons'][0]}")
    return list(dict.fromkeys(lines))
