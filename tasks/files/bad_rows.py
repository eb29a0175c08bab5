"""Rows of a file that cannot be used: what a parser says of one, and what a reader says of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

OnBadRow = Literal["error", "skip"]
ON_BAD_ROW = ("error", "skip")
# A report names the first few; whoever wants all of them runs with 'error' and mends the file.
MAX_REASONS = 5

Row = dict[str, Any]


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used.

    Attributes:
        place: where it is in its file, such as `line 7`.
        reason: what is wrong and what is expected.
        tolerated: whether the official file is known to have such rows, so that it is skipped in any case.
    """

    place: str
    reason: str
    tolerated: bool = False


@dataclass(frozen=True)
class ReadingReport:
    """What reading a split to its end gave.

    Attributes:
        examples: the number of good rows.
        skipped: the number of rows that were skipped.
        reasons: place and reason of the first `MAX_REASONS` of them.
    """

    examples: int
    skipped: int
    reasons: tuple[str, ...]
