"""Titles of tasks and systems on a board: texts of contributors, made printable and told apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from benchmark.records.record import Record, RecordError
from leaderboard.estimates import TaskKey
from leaderboard.export import printable
from tasks.catalogue import TASKS

if TYPE_CHECKING:
    from benchmark.records.task_definition import TaskDefinition
    from benchmark.records.training_file import TrainingFile


def task_label(task: str) -> str:
    """Returns the title of a task in the catalogue, or its name where the catalogue lacks it."""
    return TASKS[task].title if task in TASKS else task


def own_titles(records: Iterable[Record]) -> dict[str, str]:
    """Returns the titles of own tasks by name, from the definitions in records.

    Raises:
        RecordError: two records have different tasks of one name, whose scores cannot be compared.
    """
    found: dict[str, tuple[str, TaskDefinition]] = {}
    scored = [(record.id, task.task, task.definition) for record in records for task in record.tasks]
    for record_id, name, definition in scored:
        if definition is None:
            continue
        other, first = found.setdefault(name, (record_id, definition))
        if first.content() != definition.content():
            raise RecordError(
                f"{record_id}: tasks: {name!r} has another definition than in {other!r} (files, columns, labels or"
                " metrics); accepted: records of one definition, or another version in the name"
            )
    return {name: definition.title for name, (_, definition) in found.items()}


def training_files(records: Iterable[Record]) -> dict[TaskKey, TrainingFile]:
    """Collects the training files that are not the official ones, by the scores that they keep apart."""
    scored = ((TaskKey.from_score(task), task.training_file) for record in records for task in record.tasks)
    return {key: file for key, file in scored if file is not None}


def run_name(record: Record) -> str:
    """Names the run that made a record by the start of its fingerprint; '' where none did."""
    return printable(record.provenance.config_fingerprint[:8]) if record.provenance else ""


def system_titles(records: Iterable[Record]) -> dict[str, str]:
    """Gives each record its title, with its run and then its id where titles of several would be equal."""
    spellings = {}
    for record in records:
        title = printable(record.system.title)
        spellings[record.id] = (title, f"{title} (run {run_name(record)})", f"{title} ({record.id})")
    counts = Counter(spelling for options in spellings.values() for spelling in set(options))
    return {name: next(s for s in options if counts[s] == 1 or s is options[-1]) for name, options in spellings.items()}
