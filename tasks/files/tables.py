"""Rows of the tables that own tasks are made of: tab-separated, comma-separated, JSON lines.

All are UTF-8 text, plain or compressed, with or without a byte-order mark; empty lines are no rows. In a
tab-separated file quotes are plain characters, as in GLUE's files, so that no value holds a tab or a line break.
Comma-separated files are those of the module `csv`: a value in double quotes may hold commas, line breaks and,
doubled, quotes.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.files.bad_rows import BadRow, Row
from tasks.files.text_files import not_utf8, raw_lines
from tasks.system.errors import DataError, nearest, shown

if TYPE_CHECKING:
    from tasks.catalogue import OwnFile


# Characters of a value in a comma-separated file. The 131,072 of the module `csv` are too few for a long document; a
# limit there must be, as a quote that is not closed takes the rest of the file.
MAX_CSV_VALUE = 2**24


@dataclass(frozen=True)
class TableRow:
    """A row: its place in the file, such as `line 7`, and its values by column."""

    place: str
    values: Row


def table_rows(file: OwnFile, columns: Sequence[str]) -> Iterator[TableRow | BadRow]:
    """Reads a file of format `tsv`, `csv` or `jsonl`.

    Args:
        file: path and format.
        columns: the columns that must be there, each once. Lines of JSON are checked one by one.

    Yields:
        The rows in the order of the file; a `BadRow` for one that cannot be taken apart.

    Raises:
        DataError: if the file is missing, empty, a damaged archive, or lacks a column.
    """
    path = Path(file.path)
    if not path.is_file():
        raise DataError(f"{path} is missing: it should hold rows with the columns {', '.join(columns)}")
    if file.format == "jsonl":
        yield from _json_rows(path, columns)
        return
    rows = _csv_cells(path) if file.format == "csv" else _tsv_cells(path)
    _, header = next(rows, ("", []))
    if isinstance(header, str):
        raise DataError(f"{path}: line 1: {header}")
    require_columns(path, header, columns)
    shape = f"{len(header)} ({shown(', '.join(header))})"
    for place, cells in rows:
        if isinstance(cells, str):
            yield BadRow(place, cells)
        elif len(cells) != len(header):
            yield BadRow(place, f"{len(cells)} columns instead of {shape}")
        else:
            yield TableRow(place, dict(zip(header, cells, strict=True)))


def require_columns(path: Path, found: Sequence[str], columns: Sequence[str]) -> None:
    """Refuses a table that lacks a column, or has it twice.

    Raises:
        DataError: names the columns that it has.
    """
    if not found:
        raise DataError(f"{path}: empty; a first line with the columns {', '.join(columns)} is expected")
    for name in columns:
        if found.count(name) != 1:
            problem = f"{found.count(name)} columns '{name}'" if name in found else f"no column '{name}'"
            hint = "" if name in found else nearest(name, found)
            raise DataError(f"{path}: {problem}; the columns are {shown(', '.join(found), 400)}{hint}")


def _tsv_cells(path: Path) -> Iterator[tuple[str, list[str] | str]]:
    """Yields place and cells of each line, or a description of its mistake."""
    for number, line in enumerate(raw_lines(path), start=1):
        if not line:
            continue
        try:
            yield f"line {number}", line.decode().split("\t")
        except UnicodeDecodeError as error:
            yield f"line {number}", not_utf8(error)


def _csv_cells(path: Path) -> Iterator[tuple[str, list[str] | str]]:
    """Yields place and cells of each row, which may have several lines, or a description of its mistake."""
    # Bytes that are not UTF-8 become halves of surrogate pairs, so that the row that has them is found below. The ends
    # of lines stay as they are: they may stand inside quotes.
    lines = (line.decode("utf-8", "surrogateescape") for line in raw_lines(path, keep_ends=True))
    reader = csv.reader(lines, strict=True)
    while True:
        place = f"line {reader.line_num + 1}"
        try:
            cells = _next_cells(reader)
            "".join(cells).encode()
        except StopIteration:
            return
        except csv.Error as error:
            if "field limit" in str(error):
                yield place, f"a value of more than {MAX_CSV_VALUE:,} characters; is a quote before it not closed?"
            else:
                yield place, f"not CSV: {error}"
        except UnicodeEncodeError as error:
            byte = ord(error.object[error.start]) - 0xDC00
            yield place, f"byte 0x{byte:02x} is not UTF-8; UTF-8 text is expected"
        else:
            if cells:
                yield place, cells


def _next_cells(reader: Iterator[list[str]]) -> list[str]:
    """Reads a row with values of up to `MAX_CSV_VALUE` characters; the limit is the whole process's and is put back."""
    before = csv.field_size_limit(MAX_CSV_VALUE)
    try:
        return next(reader)
    finally:
        csv.field_size_limit(before)


def _json_rows(path: Path, columns: Sequence[str]) -> Iterator[TableRow | BadRow]:
    """Yields one row for each line of JSON."""
    for number, line in enumerate(raw_lines(path), start=1):
        place = f"line {number}"
        if not line.strip():
            continue
        values = _json_object(line)
        if isinstance(values, str):
            yield BadRow(place, values)
        elif missing := [name for name in columns if name not in values]:
            yield BadRow(place, f"no member '{missing[0]}'; the members are {shown(', '.join(values), 400)}")
        else:
            yield TableRow(place, values)


def _json_object(line: bytes) -> dict[str, Any] | str:
    """Reads an object, or describes the mistake."""
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return not_utf8(error)
    # Numbers of thousands of digits, brackets nested thousands deep.
    except (ValueError, RecursionError) as error:
        return f"not JSON ({shown(error)}); an object with one member for each column is expected"
    return value if isinstance(value, dict) else f"{type(value).__name__}; a JSON object is expected"
