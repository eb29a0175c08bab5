"""Whole runs of a track under other seeds: what a score owes to the seeds of teacher, distillation and fine-tuning.

A record holds one run, and says nothing of what another teacher would have made of its students. A track therefore
publishes the scores of runs of a few of its systems with other `RunConfig.seed`, in `repeated_runs/TRACK-VERSION.json`
beside this module. docs/statistics.md says how they are used and made.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from benchmark.records.record import Record, RecordError
from benchmark.records.strict_schema import Count, Digest, Percent, StrictModel, strict_json, validated
from benchmark.records.task_score import TaskScore
from tasks.system.atomic_write import write_text

if TYPE_CHECKING:
    from benchmark.records.record import Provenance

FOLDER = Path(__file__).parent / "repeated_runs"
# Parts of a track on which no score depends.
_NOT_OF_SCORES = ("latency",)


class RepeatedSystem(StrictModel):
    """The scores of one system in one run; of its tasks, their primary metric."""

    kind: Literal["teacher", "baseline", "control"]
    masked_lm_accuracy: Percent | None
    masked_lm_predictions: Count | None
    tasks: list[TaskScore]


class RepeatedRun(StrictModel):
    """One run: the fingerprint of its settings, the commit that made it, and its systems by name."""

    config_fingerprint: Digest
    git_commit: str
    systems: dict[str, RepeatedSystem] = Field(min_length=1)


class RepeatedRuns(StrictModel):
    """Runs of one track that differ in their seeds alone.

    `settings` has the digests of what the track fixes, by part (`benchmark.records.track_settings`).
    """

    schema_version: Literal[1] = 1
    track: str
    track_version: str
    settings: dict[str, Digest]
    runs: Annotated[list[RepeatedRun], Field(min_length=2)]

    @model_validator(mode="after")
    def _distinct(self) -> RepeatedRuns:
        if len({run.config_fingerprint for run in self.runs}) != len(self.runs):
            raise ValueError("runs has one run twice")
        return self

    @property
    def kinds(self) -> dict[str, str]:
        """Kind of each system, by name."""
        return {name: system.kind for run in self.runs for name, system in run.systems.items()}


def collect(runs: Sequence[Sequence[Record]]) -> RepeatedRuns:
    """Collects the scores of whole runs.

    Args:
        runs: the records of each run. Found students are left out, as each run finds others.

    Raises:
        RecordError: the runs are not those of one track, or fewer than two.
    """
    first = runs[0][0] if runs and runs[0] else None
    if len(runs) < 2 or first is None:
        raise RecordError(f"{len(runs)} runs: expected at least 2, each with records")
    settings: dict[str, str] = {}
    found = []
    for records in runs:
        for record in records:
            if (record.track, record.track_version) != (first.track, first.track_version):
                raise RecordError(f"{record.id}: track = {record.track!r}: expected {first.track!r} as in {first.id}")
            own = _settings(record.provenance)
            other = sorted(part for part in own.keys() & settings.keys() if own[part] != settings[part])
            if other:
                raise RecordError(f"{record.id}: {other[0]}: other settings than those of {first.id}")
            settings |= own
        kept = [record for record in records if record.system.kind in ("teacher", "baseline", "control")]
        made = {(r.provenance.config_fingerprint, r.provenance.git_commit) for r in records if r.provenance is not None}
        if len(made) != 1 or not kept:
            raise RecordError(f"{records[0].id}: expected the records of one run, with a system that is not found")
        systems = {record.system.name: _scores(record) for record in sorted(kept, key=lambda r: r.system.name)}
        ((config_fingerprint, git_commit),) = made
        found.append(RepeatedRun(config_fingerprint=config_fingerprint, git_commit=git_commit, systems=systems))
    found.sort(key=lambda run: run.config_fingerprint)
    return RepeatedRuns(track=first.track, track_version=first.track_version, settings=settings, runs=found)


def _settings(provenance: Provenance | None) -> dict[str, str]:
    parts = {} if provenance is None else provenance.track_settings
    return {part: one.sha256 for part, one in sorted(parts.items()) if part not in _NOT_OF_SCORES}


def _scores(record: Record) -> RepeatedSystem:
    tasks = []
    for task in record.tasks:
        primary = {task.primary_metric: task.metrics[task.primary_metric]}
        tasks.append(
            task.model_copy(update={"metrics": primary, "predictions": [], "predictions_sha256": [], "details": {}})
        )
    training = record.training
    return RepeatedSystem(
        kind=record.system.kind,  # type: ignore[arg-type]
        masked_lm_accuracy=None if training is None else training.masked_lm_accuracy,
        masked_lm_predictions=None if training is None else training.masked_lm_predictions,
        tasks=tasks,
    )


def write(path: Path, runs: RepeatedRuns) -> None:
    """Writes repeated runs as JSON."""
    text = json.dumps(runs.model_dump(mode="json", exclude_defaults=True) | {"schema_version": 1}, sort_keys=True)
    write_text(path, text.replace('{"config_fingerprint"', '\n{"config_fingerprint"') + "\n")


def read(path: Path) -> RepeatedRuns:
    """Reads repeated runs.

    Raises:
        RecordError: the file cannot be read, or is no such file.
    """
    try:
        value = strict_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from None
    return validated(RepeatedRuns, value, str(path), RecordError)


def of_track(records: Sequence[Record], folder: Path = FOLDER) -> RepeatedRuns | None:
    """Reads the published runs of the track of some records; None where there are none of the same settings.

    Args:
        records: the records of one track.
        folder: of the published files.
    """
    if not records:
        return None
    path = folder / f"{records[0].track}-{records[0].track_version}.json"
    if not path.is_file():
        return None
    found = read(path)
    measured = [_settings(record.provenance) for record in records if record.provenance is not None]
    same = all(found.settings.get(part, digest) == digest for own in measured for part, digest in own.items())
    return found if same and any(measured) else None
