"""The verification of a record: the comparison of each field with another run, and the machine of that run.

A verification is additional evidence; it does not change the record. One JSON file, read as strictly as records are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field

from benchmark.records.record import Numerics
from benchmark.records.strict_schema import Digest, StrictModel
from tasks.system.atomic_write import write_text

Outcome = Literal["equal", "within tolerance", "different", "not compared"]
EQUAL: Outcome = "equal"
WITHIN: Outcome = "within tolerance"
DIFFERENT: Outcome = "different"
NOT_COMPARED: Outcome = "not compared"
Shown = str | int | float | bool | None
SUFFIX = ".verification.json"


class Compared(StrictModel):
    """One field of a record: the recorded value, the value found now, and the outcome.

    `note` gives the tolerance and its reason, or the reason why the field was not compared.
    """

    field: str
    outcome: Outcome
    recorded: Shown = None
    found: Shown = None
    note: str = ""


class Verification(StrictModel):
    """A comparison of one record with a new run of its settings.

    `record_sha256` is that of the record's file. `searched` is true where the search was run again, and false where its
    outcome was taken from the record. `versions`, `device`, `numerics` and the commit are those of the verifying run.
    """

    schema_version: Literal[1] = 1
    record_id: str
    record_sha256: Digest
    outcome: Literal["equal", "within tolerance", "different"]
    searched: bool
    command: str
    git_commit: str
    git_dirty: bool
    versions: dict[str, str]
    device: dict[str, str | int | float | bool | None]
    numerics: Numerics
    started_utc: str
    seconds: float = Field(ge=0)
    fields: list[Compared] = Field(min_length=1)


def overall(fields: Iterable[Compared]) -> Literal["equal", "within tolerance", "different"]:
    """Returns the outcome of a whole comparison: that of its worst field."""
    outcomes = {field.outcome for field in fields}
    return "different" if DIFFERENT in outcomes else "within tolerance" if WITHIN in outcomes else "equal"


def verdict(fields: Iterable[Compared]) -> str:
    """Describes the outcome: that of everything but latency, and that of latency, which is never exact."""
    fields = list(fields)
    latency = [f for f in fields if f.field.startswith("latency.measured") and f.outcome != NOT_COMPARED]
    rest = overall(f for f in fields if not f.field.startswith("latency.measured"))
    return f"{rest}; measured latency: {overall(latency) if latency else NOT_COMPARED}"


def record_files(folder: Path) -> list[Path]:
    """Lists the record files of a folder in name order, without verifications and unfinished (hidden) files."""
    files = (path for path in folder.glob("*.json") if not path.name.startswith("."))
    return sorted(path for path in files if not path.name.endswith(SUFFIX))


def verification_path(record: Path) -> Path:
    """Returns the path of the verification of a record file, in the same folder."""
    return record.with_name(record.name.removesuffix(".json") + SUFFIX)


def write(path: Path, verification: Verification) -> None:
    """Writes a verification atomically."""
    text = json.dumps(verification.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def table(fields: Iterable[Compared]) -> list[str]:
    """Formats a comparison as lines of text: differing fields first, the rest in the record's order.

    Fields of equal outcome below the same part of a record, such as the architecture, share one line.
    """
    fields = list(fields)
    order = {DIFFERENT: 0, WITHIN: 1, EQUAL: 2, NOT_COMPARED: 3}
    lines = []
    for field in sorted(_merge_equal(fields), key=lambda f: order[f.outcome]):
        values = ""
        if field.outcome == DIFFERENT or field.outcome == WITHIN:
            values = f"  recorded {_printable(field.recorded)}, found {_printable(field.found)}"
        elif field.outcome == EQUAL and field.recorded is not None:
            values = f"  {_printable(field.recorded)}"
        note = f"  ({_printable(field.note, 160)})" if field.note else ""
        lines.append(f"{field.outcome:<17} {_printable(field.field, 120)}{values}{note}")
    counts = Counter(field.outcome for field in fields)
    lines.append(", ".join(f"{counts[name]} {name}" for name in order if counts[name]))
    return lines


def _printable(value: Shown, limit: int = 70) -> str:
    text = value if isinstance(value, str) else repr(value)
    text = " ".join(c if c.isprintable() else repr(c)[1:-1] for c in text.split(" "))
    return text if len(text) <= limit else text[: limit - 3] + "..."


_MERGED = ("system.encoder.", "provenance.data_digests.", "provenance.versions.", "search.trials.")


def _merge_equal(fields: list[Compared]) -> list[Compared]:
    """Merges the equal fields of each part that has many into one."""
    kept = [f for f in fields if f.outcome != EQUAL or not f.field.startswith(_MERGED)]
    for part in _MERGED:
        count = sum(f.outcome == EQUAL and f.field.startswith(part) for f in fields)
        if count:
            kept.append(Compared(field=part.rstrip("."), outcome="equal", note=f"{count} fields"))
    return kept
