"""What the runs of a record made of every example: a compressed file beside the record, which has its digests.

`results/outcomes/NAME.json.gz` belongs to `results/NAME.json`. The digest of a task is that of its canonical JSON: the
compressed bytes differ between versions of the compressor.
"""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from benchmark.config import fingerprint
from benchmark.records.record import Record, RecordError
from benchmark.records.strict_schema import StrictModel, strict_json, validated
from tasks.system.atomic_write import write_bytes

if TYPE_CHECKING:
    from benchmark.records.task_score import TaskScore

FOLDER = "outcomes"
_SUFFIX = ".json.gz"
# Decompressed bytes that are read at most; the largest development set with nine runs has about 10 MB.
_LIMIT = 2**28

# Numbers as JSON has them: whole numbers stay whole, so that digests do. Larger ones are neither labels nor values.

Number = (
    Annotated[int, Field(ge=-(2**31), lt=2**31)] | Annotated[float, Field(ge=-(2**31), lt=2**31, allow_inf_nan=False)]
)


class TaskOutcomes(StrictModel):
    """The outcomes of one task (`tasks.scoring.outcomes.outcomes`), in the order of its examples and of its runs."""

    task: str
    split: str
    references: list[Number] = Field(min_length=1)
    runs: dict[str, list[list[Number]]]

    @model_validator(mode="after")
    def _complete(self) -> TaskOutcomes:
        if self.runs.keys() not in ({"predictions"}, {"exact_match", "f1"}):
            raise ValueError("runs must have predictions alone, or exact_match and f1")
        for name, runs in self.runs.items():
            if any(len(run) != len(self.references) for run in runs):
                raise ValueError(f"runs.{name} must have {len(self.references)} values each, as references")
            if name != "predictions" and any(not 0 <= value <= 1 for run in runs for value in run):
                raise ValueError(f"runs.{name} must have values from 0 to 1")
        paragraphs = "predictions" not in self.runs
        if paragraphs and any(not isinstance(n, int) or not 0 <= n < len(self.references) for n in self.references):
            raise ValueError("references must be the numbers of paragraphs, from 0")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return fingerprint(self.model_dump(mode="json"))


class Outcomes(StrictModel):
    """The outcomes of a record."""

    schema_version: Literal[1] = 1
    record_id: str
    tasks: list[TaskOutcomes]


def outcomes_path(record: Path) -> Path:
    """Returns the path of the outcomes of a record file."""
    return record.parent / FOLDER / (record.name.removesuffix(".json") + _SUFFIX)


def write(path: Path, outcomes: Outcomes) -> None:
    """Writes outcomes; equal ones give equal bytes on one machine."""
    text = json.dumps(outcomes.model_dump(mode="json"), separators=(",", ":"), allow_nan=False)
    write_bytes(path, gzip.compress(text.encode(), mtime=0))


def read(path: Path) -> Outcomes:
    """Reads outcomes.

    Raises:
        RecordError: the file cannot be read, or is no such file.
    """
    try:
        with gzip.open(path) as file:
            text = file.read(_LIMIT + 1)
        if len(text) > _LIMIT:
            raise RecordError(f"{path}: more than {_LIMIT} bytes when decompressed")
        value = strict_json(text.decode())
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from None
    return validated(Outcomes, value, str(path), RecordError)


def of_record(record: Record, path: Path) -> dict[str, TaskOutcomes]:
    """Reads the outcomes of a record where they lie beside it.

    Args:
        record: the record.
        path: its file.

    Returns:
        Name of a task -> outcomes; nothing where there is no file.

    Raises:
        RecordError: the file cannot be read, or its content is not what the record has the digests of.
    """
    beside = outcomes_path(path)
    if not beside.is_file():
        return {}
    found = read(beside)
    if found.record_id != record.id:
        raise RecordError(f"{beside}: record_id = {found.record_id!r}: expected {record.id!r}, as {path} has it")
    scored = {task.task: task for task in record.tasks}
    for one in found.tasks:
        _check(one, scored.get(one.task), beside)
    if len({one.task for one in found.tasks}) != len(found.tasks):
        raise RecordError(f"{beside}: tasks: one is given twice")
    return {one.task: one for one in found.tasks}


def _check(found: TaskOutcomes, scored: TaskScore | None, path: Path) -> None:
    place = f"{path}: tasks.{found.task}"
    if scored is None or scored.split != found.split:
        raise RecordError(f"{place}: the record has no score of it on split {found.split!r}")
    if scored.outcomes_sha256 != found.digest:
        raise RecordError(f"{place}: sha256 {found.digest[:12]}: the record has {str(scored.outcomes_sha256)[:12]}")
    runs = {len(runs) for runs in found.runs.values()}
    if runs != {len(scored.seeds)} or len(found.references) != scored.num_examples:
        raise RecordError(f"{place}: expected {len(scored.seeds)} runs of {scored.num_examples} examples")
