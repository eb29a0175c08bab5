"""Readers of the official files of the tasks: GLUE's tab-separated tables and SQuAD's JSON.

`tasks.files.layouts` finds them. A row that cannot be used is a `DataError` that names file and line, or is
skipped and counted (`on_bad_row`); a file that cannot be used is an error in any case.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.catalogue import TaskInfo, text_field_names
from tasks.files import layouts
from tasks.files.bad_rows import MAX_REASONS, ON_BAD_ROW, BadRow, OnBadRow, ReadingReport, Row
from tasks.files.squad_reader import squad_rows
from tasks.files.text_files import not_utf8, raw_lines, read_lines
from tasks.system.errors import DataError, shown

if TYPE_CHECKING:
    from tasks.files.layouts import SplitFiles

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_ID_COLUMNS = ("#1 ID", "#2 ID")


def read_examples(info: TaskInfo, directory: Path | str, split: str, on_bad_row: OnBadRow = "error") -> Iterator[Row]:
    """Reads one split of a task.

    Args:
        info: the task.
        directory: the data root.
        split: `train`, `validation` or `test`.
        on_bad_row: `error` stops at the first bad row, `skip` leaves bad rows out (`report` counts them).

    Yields:
        GLUE: `idx` (number of the example, from 0), the text fields (`tasks.catalogue.text_field_names`) and `label`:
        the position in `label_names`, a float for regression, -1 (-1.0) in test splits, even if their file has labels.
        SQuAD: `idx`, `id`, `title`, `question`, `context`, `answers` (list of `{"text", "answer_start"}`) and
        `is_impossible`.

    Raises:
        DataError: if the file is missing, empty or has another content than its name.
    """
    files = layouts.require(info, directory, split)
    yield from _examples(info, files, split, on_bad_row, lambda _: None)


def report(info: TaskInfo, files: SplitFiles, split: str, on_bad_row: OnBadRow = "error") -> ReadingReport:
    """Reads a split to its end and counts.

    Args:
        info: the task.
        files: its files.
        split: `train`, `validation` or `test`.
        on_bad_row: as for `read_examples`.

    Returns:
        The numbers of examples and of rows that were skipped.

    Raises:
        DataError: as `read_examples`.
    """
    reasons: list[str] = []
    examples = sum(1 for _ in _examples(info, files, split, on_bad_row, reasons.append))
    return ReadingReport(examples, len(reasons), tuple(reasons[:MAX_REASONS]))


def _examples(
    info: TaskInfo, files: SplitFiles, split: str, on_bad_row: OnBadRow, note: Callable[[str], None]
) -> Iterator[Row]:
    """Yields the good rows with their numbers; notes or raises the bad ones."""
    if on_bad_row not in ON_BAD_ROW:
        raise DataError(f"on_bad_row is {on_bad_row!r}; expected one of {', '.join(ON_BAD_ROW)}")
    index = skipped = 0
    for row in _span_rows(info, files.table) if info.kind == "span" else _table_rows(info, files, split):
        if isinstance(row, BadRow):
            problem = f"{row.place}: {row.reason}"
            if on_bad_row == "error" and not row.tolerated:
                raise DataError(f"{files.table}: {problem}")
            # The same form that an error has: one line, nothing unprintable.
            note(str(DataError(problem)))
            skipped += 1
            continue
        yield {"idx": index, **row}
        index += 1
    if not index:
        lost = f"; {skipped:,} bad rows were skipped" if skipped else ""
        raise DataError(f"{files.table}: no examples; {info.split_sizes[split]:,} are expected{lost}")


def _span_rows(info: TaskInfo, path: Path) -> Iterator[Row | BadRow]:
    """Reads a file of SQuAD; by the rules of v1.1 a question without answer would score 0 whatever is predicted."""
    for row in squad_rows(path):
        if isinstance(row, BadRow) or row["answers"] or info.has_no_answer_option:
            yield row
        else:
            yield BadRow(f"id {shown(row['id'])}", "no answer; SQuAD v1.1 has at least one for every question")


def _decoded(path: Path) -> Iterator[tuple[int, str | BadRow]]:
    """Numbers the lines of a file and decodes each."""
    for number, line in enumerate(raw_lines(path), start=1):
        try:
            yield number, line.decode()
        except UnicodeDecodeError as error:
            yield number, BadRow(f"line {number}", not_utf8(error))


def _table_rows(info: TaskInfo, files: SplitFiles, split: str) -> Iterator[Row | BadRow]:
    """Reads one tab-separated file; quotes are plain characters."""
    lines = _decoded(files.table)
    columns = info.headerless_columns.get(split)
    if columns is None:
        _, first = next(lines, (1, ""))
        if isinstance(first, BadRow):
            raise DataError(f"{files.table}: {first.place}: {first.reason}")
        if not first:
            return
        columns = tuple(first.split("\t"))
    renamed = info.renamed_columns.get(split, {})
    # The official test files call other columns differently, but the text columns keep their names.
    texts = [
        (name, _position(columns, renamed.get(column, column), files.table))
        for name, column in zip(text_field_names(info), info.text_columns, strict=True)
    ]
    label_column = renamed.get(info.label_column, info.label_column)
    label_position = None if split == "test" else _position(columns, label_column, files.table)
    chosen = _pair_filter(files, columns, split)
    shape = f"{len(columns)} ({shown(', '.join(columns))})"

    def parse(number: int, line: str | BadRow) -> Row | BadRow | None:
        """Makes a row of a line; None where it belongs to the other split of the file."""
        if isinstance(line, BadRow):
            return line
        cells = line.split("\t")
        if len(cells) != len(columns):
            return BadRow(f"line {number}", f"{len(cells)} columns instead of {shape}", info.skips_broken_rows)
        if chosen is not None and not chosen.takes(cells):
            return None
        label = _label(info, None if label_position is None else cells[label_position])
        if isinstance(label, str):
            return BadRow(f"line {number}", f"{label_column} is {label}")
        return {**{name: cells[position] for name, position in texts}, "label": label}

    all_good = True
    for row in itertools.starmap(parse, lines):
        if row is not None:
            all_good = all_good and not isinstance(row, BadRow)
            yield row
    if chosen is not None and all_good:
        chosen.require_all_found(files.table)


def _position(columns: tuple[str, ...], name: str, path: Path) -> int:
    """Finds a column that must be there once."""
    if columns.count(name) != 1:
        problem = f"{columns.count(name)} columns '{name}'" if name in columns else f"no column '{name}'"
        raise DataError(f"{path}: line 1: {problem}; the columns are {shown(', '.join(columns))}")
    return columns.index(name)


def _label(info: TaskInfo, cell: str | None) -> int | float | str:
    """Converts a label cell (None: there is none) into an id or a score, or else describes the mistake."""
    if info.kind == "regression":
        if cell is None:
            return -1.0
        low, high = info.label_range or (-math.inf, math.inf)
        # float() alone also takes `1_0`, `nan` and the digits of other scripts.
        score = float(cell) if _NUMBER.fullmatch(cell) else math.nan
        return score if low <= score <= high else f"'{shown(cell)}'; a number from {low:g} to {high:g} is expected"
    if cell is None:
        return -1
    if cell not in info.label_names:
        return f"'{shown(cell)}'; expected one of {', '.join(info.label_names)}"
    return info.label_names.index(cell)


class _PairFilter:
    """Divides a file of training and validation rows by the ids of its pairs."""

    def __init__(self, ids: Path, positions: tuple[int, int], validation: bool) -> None:
        self._ids = ids
        self._positions = positions
        self._validation = validation
        self._wanted: dict[tuple[str, ...], int] = {}
        self._found: set[tuple[str, ...]] = set()
        for number, line in enumerate(read_lines(ids), start=1):
            pair = tuple(line.split("\t"))
            if len(pair) != 2:
                raise DataError(f"{ids}: line {number}: {len(pair)} columns instead of 2 (the ids of a pair)")
            self._wanted[pair] = number

    def takes(self, cells: list[str]) -> bool:
        """Returns True where a row belongs to the split."""
        pair = tuple(cells[position] for position in self._positions)
        if pair in self._wanted:
            self._found.add(pair)
        return (pair in self._wanted) == self._validation

    def require_all_found(self, table: Path) -> None:
        """Raises DataError for ids that no row had."""
        for pair, number in self._wanted.items():
            if pair not in self._found:
                raise DataError(f"{self._ids}: line {number}: the pair {shown(' and '.join(pair))} is not in {table}")


def _pair_filter(files: SplitFiles, columns: tuple[str, ...], split: str) -> _PairFilter | None:
    """Makes the filter of a split that shares its file with another one."""
    if files.validation_ids is None:
        return None
    first, second = (_position(columns, name, files.table) for name in _ID_COLUMNS)
    return _PairFilter(files.validation_ids, (first, second), split == "validation")
