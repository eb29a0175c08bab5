"""Rows of a file that cannot be used: a parser's verdict on one row, and a reader's report on all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

OnBadRow = Literal["error", "skip"]
ON_BAD_ROW = ("error", "skip")
# A report names the first few; to find all of them, run with 'error' and correct the file.
MAX_REASONS = 5

Row = dict[str, Any]


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used."""

    # Its place in the file, such as `line 7`.
    place: str
    # The mistake, and the value that is expected.
    reason: str
    # True where the official file is known to have such rows, which are always skipped.
    tolerated: bool = False


@dataclass(frozen=True)
class ReadingReport:
    """Counts of a split that was read to its end."""

    # The number of good rows.
    examples: int
    # The number of rows that were skipped.
    skipped: int
    # Place and reason of the first `MAX_REASONS` of them.
    reasons: tuple[str, ...]
