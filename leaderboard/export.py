"""Texts that leave the board: JSON inside a page, CSV for spreadsheets, names on a screen.

Names, titles and commands come from contributors; each function here makes one kind of output safe.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmark.records.csv_text import Cell, csv_text
from leaderboard.columns import Column, of_family
from leaderboard.estimates import Estimate, estimates, primary_scores
from leaderboard.rank import LatencyGroup, latency_blocks, latency_groups

if TYPE_CHECKING:
    from benchmark.records.record import Record

_REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    """Normalises a name and replaces characters that could hide or reorder others on a screen by U+FFFD."""
    shown = unicodedata.normalize("NFC", text)
    hiding = ("Cc", "Cs", "Zl", "Zp")
    return "".join("\ufffd" if unicodedata.category(c) in hiding or c in _REORDERING else c for c in shown)


def island_json(value: Any) -> str:
    """Writes JSON for a `script` element: nothing in it can end the element or open a comment.

    Args:
        value: plain values with finite numbers.

    Returns:
        JSON text, equal for equal values.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def records_json(records: Sequence[Record]) -> str:
    """Writes records as one JSON list, one record a line: a change of one record is a change of one line."""
    lines = [json.dumps(record.model_dump(mode="json"), ensure_ascii=False, allow_nan=False) for record in records]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _with_intervals(estimate: Estimate | None) -> list[Cell]:
    if estimate is None:
        return [None] * 5
    return [estimate.value, *(estimate.interval or (None, None)), *(estimate.run or (None, None))]


def records_csv(records: Sequence[Record]) -> str:
    """Writes one line for each record: identity, cost, accuracy, mean, tasks and latencies, with 95 % bounds.

    A score has two pairs of them: `low` and `high` of the mean over runs, `run_low` and `run_high` of another run.

    Args:
        records: the records, in the order of the lines.

    Returns:
        CSV text.
    """
    groups, found = latency_groups(records), estimates(records)
    tasks = sorted({key for record in records for key in primary_scores(record)})
    names = ["masked_lm_accuracy", "mean", *(key.key for key in tasks)]
    header = ["id", "track", "track_version", "name", "title", "kind"]
    header += [_csv_name(column) for column in of_family("system")]
    header += [name + end for name in names for end in ("", ".low", ".high", ".run_low", ".run_high")]
    latency = (
        *(_csv_name(column) for column in of_family("latency")),
        "speedup",
        "speedup.low",
        "speedup.high",
        "reference",
    )
    header += [f"{group.key}.{name}" for group in groups for name in latency]
    return csv_text(header, [_csv_row(record, found[record.id], names, groups) for record in records])


def _csv_name(column: Column) -> str:
    return column.path.rpartition(".")[2]


def _csv_row(
    record: Record, scores: Mapping[str, Estimate], names: Sequence[str], groups: Sequence[LatencyGroup]
) -> list[Cell]:
    system, blocks = record.system, latency_blocks(record)
    row: list[Cell] = [record.id, record.track, record.track_version, system.name, system.title, system.kind]
    row += [column.value(record) for column in of_family("system")]
    for name in names:
        row += _with_intervals(scores.get(name))
    for group in groups:
        block = blocks.get(group)
        row += [column.value(block) for column in of_family("latency")]
        row += [block.speedup, *(block.speedup_interval or (None, None)), block.reference] if block else [None] * 4
    return row
