"""The reader of own tasks: files that `benchmark.config.TaskConfig` names, with columns of any name."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.catalogue import OwnTask, TaskInfo, own_task_info
from tasks.files.bad_rows import MAX_REASONS, BadRow, OnBadRow, ReadingReport, Row
from tasks.files.own_rows import ValueProblemError, answerable, label_name, parse, parse_span, sorted_labels
from tasks.files.squad_reader import squad_rows
from tasks.files.tables import TableRow, table_rows
from tasks.files.text_files import sha256_file
from tasks.system.errors import DataError

if TYPE_CHECKING:
    from tasks.catalogue import OwnFile

MAX_LABELS = 10_000
"""More different labels than this are a mistake: a column of texts or of measured values."""


def definition(info: TaskInfo) -> OwnTask:
    """Returns the definition of an own task."""
    assert info.own is not None
    return info.own


def task_files(info: TaskInfo, root: Path, split: str) -> tuple[Path, ...]:
    """Lists the file that decides the content of a split; none if it is missing."""
    del root
    own = definition(info)
    path = Path(own.file(split).path) if split in own.splits else None
    return (path,) if path is not None and path.is_file() else ()


def missing_split(info: TaskInfo, root: Path, split: str) -> DataError:
    """Makes the error for a missing split."""
    del root
    own = definition(info)
    if split not in own.splits:
        return DataError(f"task {info.name} has no split '{split}'; it has {', '.join(own.splits)}")
    columns = ", ".join((*info.text_columns, info.label_column))
    path = own.file(split).path
    return DataError(f"{path} is missing: it should hold the {split} split of {info.name}, with the columns {columns}")


def read_examples(info: TaskInfo, root: Path, split: str, on_bad_row: OnBadRow = "error") -> Iterator[Row]:
    """Reads one split as `tasks.files.readers.read_examples` does; text fields are `sentence`, or two with numbers.

    Raises:
        DataError: if the file is missing, empty, without a column, or has a bad row that may not be skipped.
    """
    del root
    return _examples(info, split, on_bad_row, lambda _: None)


def report(info: TaskInfo, split: str, on_bad_row: OnBadRow) -> ReadingReport:
    """Reads a split to its end and counts, as `tasks.files.readers.report` does."""
    reasons: list[str] = []
    examples = sum(1 for _ in _examples(info, split, on_bad_row, reasons.append))
    return ReadingReport(examples, len(reasons), tuple(reasons[:MAX_REASONS]))


def resolve(own: OwnTask) -> TaskInfo:
    """Makes the entry of an own task, with the labels of its training file where none are given.

    Raises:
        DataError: if the file cannot be read, has one label or more than `MAX_LABELS`, or another number than a metric
            needs.
    """
    if own.kind != "classification" or own.label_names:
        return own_task_info(own)
    file, names, problem = own.file("train"), set[str](), ""
    for row in _table(file, (*own.text_columns, own.label_column)):
        # A row that is bad otherwise, or whose label is, is found by the reader of examples.
        try:
            if isinstance(row, BadRow):
                raise ValueProblemError(row.reason)
            names.add(label_name(own.label_column, row.values[own.label_column]))
        except ValueProblemError as error:
            problem = problem or f"; the first bad row: {row.place}: {error}"
            continue
        if len(names) > MAX_LABELS:
            accepted = "kind = 'regression' for numbers, or another label_column"
            raise DataError(
                f"{file.path}: more than {MAX_LABELS:,} labels in '{own.label_column}'; accepted: {accepted}"
            )
    if len(names) < 2:
        found = f"one label, '{min(names)}'," if names else "no label"
        raise DataError(f"{file.path}: {found} in '{own.label_column}'; at least two are expected{problem}")
    if "f1" in own.metrics and len(names) != 2:
        accepted = "'macro_f1' in place of 'f1', which needs two"
        raise DataError(f"{file.path}: {len(names)} labels in '{own.label_column}'; TaskConfig.metrics: {accepted}")
    return own_task_info(OwnTask(**{**vars(own), "label_names": sorted_labels(names)}))


def held_out(count: int, fraction: float, seed: int) -> frozenset[int]:
    """Chooses the rows that become validation rows, the same ones on every machine.

    Args:
        count: rows of the file.
        fraction: the share to hold out.
        seed: gives other rows.

    Returns:
        The numbers, from 0, of `fraction * count` rows, rounded and at least one: the first in the order of the SHA-256
        of the text `seed number`.
    """
    order = sorted(range(count), key=lambda number: hashlib.sha256(f"{seed} {number}".encode()).digest())
    return frozenset(order[: max(1, round(fraction * count))])


def changed(tasks: Iterable[OwnTask], source_files: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Lists the files of own tasks whose content is not that in `source_files` of a `data.json`; missing ones are not.

    Returns:
        Names of `OwnTask.source_name`.
    """
    names = []
    for own in tasks:
        for file in own.files:
            name, path = own.source_name(file.split), Path(file.path)
            if path.is_file() and sha256_file(path) != source_files.get(name, {}).get("sha256"):
                names.append(name)
    return names


def refuse_equal_files(tasks: Iterable[OwnTask], source_files: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuses a task two of whose files have the same content.

    Raises:
        DataError: names both.
    """
    for own in tasks:
        for one, two in itertools.combinations(own.files, 2):
            if source_files[own.source_name(one.split)] == source_files[own.source_name(two.split)]:
                raise DataError(
                    f"{two.path}: the {two.split} file of {own.name} has the content of {one.path}, its {one.split}"
                    " file; another file is expected"
                )


def _examples(info: TaskInfo, split: str, on_bad_row: OnBadRow, note: Callable[[str], None]) -> Iterator[Row]:
    """Yields the good rows with their numbers; notes or raises the bad ones."""
    path, reasons, index = definition(info).file(split).path, [], 0
    for row in _split_rows(info, split):
        if isinstance(row, BadRow):
            problem = f"{row.place}: {row.reason}"
            if on_bad_row == "error":
                raise DataError(f"{path}: {problem}")
            reasons.append(str(DataError(problem)))
            note(reasons[-1])
            continue
        yield {"idx": index, **row}
        index += 1
    if not index:
        lost = f"; {len(reasons):,} bad rows were skipped, the first: {reasons[0]}" if reasons else ""
        raise DataError(f"{path}: no examples for the {split} split of {info.name}{lost}")


def _split_rows(info: TaskInfo, split: str) -> Iterator[Row | BadRow]:
    """Yields the rows of a split, those of a file that holds two splits by their numbers."""
    own = definition(info)
    if split == "test" or own.file("validation").split == "validation":
        return _rows(info, split)
    count = sum(1 for _ in _rows(info, "train"))
    chosen = held_out(count, own.validation_fraction, own.split_seed)
    return (row for n, row in enumerate(_rows(info, "train")) if (n in chosen) == (split == "validation"))


def _rows(info: TaskInfo, split: str) -> Iterator[Row | BadRow]:
    """Yields all rows of the file of a split, good and bad."""
    own = definition(info)
    file = own.file(split)
    if own.kind == "span":
        if file.format == "json":
            yield from (answerable(own, row) for row in squad_rows(Path(file.path)))
            return
        seen: set[str] = set()
        for number, row in enumerate(_table(file, (*own.text_columns, own.label_column), ("id", "title"))):
            yield row if isinstance(row, BadRow) else parse_span(own, row, number, seen)
        return
    label = () if split == "test" else (own.label_column,)
    for row in _table(file, (*own.text_columns, *label)):
        yield row if isinstance(row, BadRow) else parse(info, row, split)


def _table(file: OwnFile, columns: tuple[str, ...], optional: tuple[str, ...] = ()) -> Iterator[TableRow | BadRow]:
    """Reads a table; pyarrow is imported for parquet alone."""
    if file.format != "parquet":
        yield from table_rows(file, columns)
        return
    from tasks.sources import hugging_face

    for number, values in enumerate(hugging_face.parquet_rows(Path(file.path), columns, optional)):
        yield TableRow(f"row {number}", values)
