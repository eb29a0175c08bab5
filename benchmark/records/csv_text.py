"""CSV that is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

Cell = str | int | float | None


def csv_text(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Writes RFC 4180 text in which no cell is a formula to a spreadsheet.

    A text cell that starts like a formula gets an apostrophe in front; numbers stay numbers, negative ones too.

    Args:
        header: column names.
        rows: cells; None is an empty cell.

    Returns:
        The text, lines ended by CR LF.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    for row in (header, *rows):
        writer.writerow([_guarded(cell) for cell in row])
    return stream.getvalue()


def _guarded(cell: Cell) -> Cell:
    if not isinstance(cell, str):
        return cell
    return "'" + cell if cell.lstrip(" ").startswith(_FORMULA_STARTS) else cell
