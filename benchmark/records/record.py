"""The result record: one JSON file for each system of a run, validated when written and when read.

Numbers are finite; unknown fields are refused; `schema_version` says how to read a file. Everything that depends on the
clock (latency samples, stage times, dates) sits in `latency` and in `provenance.timing`, so that two runs of the same
settings give equal records in all other fields (`comparable` below).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from benchmark.records.search_excerpt import SearchExcerpt
from benchmark.records.strict_schema import Digest, Finite, Percent, StrictModel, strict_json, validated
from benchmark.records.task_score import TaskScore, Unscored
from benchmark.records.track_settings import TrackSettings
from benchmark.records.training import Training
from benchmark.records.upgrades import UPGRADES
from tasks.system.atomic_write import write_text
from tasks.system.errors import InputError

SCHEMA_VERSION = 4
_EMBEDDED_SOURCE = re.compile(r"\bsource\s*=\s*['\"]microworld['\"]")
_INTEGERS = re.compile(r"\[\n\s*(-?\d+(?:,\n\s*-?\d+)*)\n\s*\]")

Kind = Literal["found", "baseline", "teacher", "control", "reported"]
Trust = Literal["reported", "self-reported", "reproduced", "audited"]


class RecordError(InputError):
    """A record file that cannot be read; the message is one line with file, field, value and accepted values."""


class System(StrictModel):
    """The measured system: architecture, size and cost.

    `encoder` holds the fields of `EncoderConfig` (null only for reported systems outside the family). `parameters`
    counts the encoder with embeddings and without task heads, and is the published number where `encoder` is null;
    `flops` counts the matrix products of one forward pass at `flops_sequence_length`.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,79}$")
    title: str = Field(min_length=1, max_length=80)
    kind: Kind
    encoder: dict[str, int | float | str | bool | None] | None
    parameters: int | None = Field(ge=0)
    flops: int | None = Field(ge=0)
    flops_sequence_length: int | None = Field(ge=1)


class LatencyBlock(StrictModel):
    """One latency; comparable to others of equal method, chip, runtime, threads, shape, dtype and protocol."""

    method: Literal["measured", "compiled", "roofline", "reported"]
    chip: str
    batch_size: int = Field(ge=1)
    sequence_length: int = Field(ge=1)
    dtype: str
    # Runtime, threads and protocol are those of a measurement; threads are null on an accelerator.
    runtime: str | None = None
    threads: int | None = Field(default=None, ge=1)
    protocol_version: int | None = Field(default=None, ge=1)
    # The median of all samples for `measured`, and the estimate otherwise.
    latency_s: float = Field(gt=0, allow_inf_nan=False)
    # Upper bounds with 99 % confidence; null where there are too few samples.
    percentiles_s: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)] | None] = Field(default_factory=dict)
    reference: str | None = None
    reference_percentiles_s: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)] | None] = Field(
        default_factory=dict
    )
    # Over the frozen reference that was interleaved with the candidate: median of per-pair ratios.
    speedup: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    # The estimate of another such measurement is inside with 95 %.
    speedup_interval: tuple[Finite, Finite] | None = None
    noise_floor: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    # Energy of a call; null where the machine has no counter.
    joules: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    reference_joules: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    samples_ns: list[list[int]] = Field(default_factory=list, description="candidate, one list for each process")
    reference_samples_ns: list[list[int]] = Field(default_factory=list)
    details: dict[str, str | int | float | bool | None] = Field(default_factory=dict)

    @field_validator("speedup_interval", mode="before")
    @classmethod
    def _pair(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value


class Numerics(StrictModel):
    """The numerics of a record (docs/reproducibility.md).

    `portable`: on a CPU, with the same bits on every x86-64 machine with AVX2, sums being divided among
    `reduction_threads`. `native`: with all instructions of processor or accelerator; `reduction_threads` is null.
    """

    mode: Literal["portable", "native"]
    reduction_threads: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _threads_where_they_count(self) -> Numerics:
        if (self.mode == "portable") != (self.reduction_threads is not None):
            raise ValueError("reduction_threads is given for portable numerics, and null for native ones")
        return self


class SkippedRows(StrictModel):
    """Unusable rows of a data file that were left out, with places and reasons of the first few."""

    count: int = Field(ge=1)
    reasons: list[str]


class CheckpointSource(StrictModel):
    """A published checkpoint that a run started from.

    `directory` is the name of its folder, `revision` the name that the settings give it, `sha256` the digest of
    `CheckpointConfig`, and `files` has the SHA-256 of each file that was read.
    """

    directory: str
    revision: str
    sha256: Digest
    files: dict[str, Digest]


class Provenance(StrictModel):
    """The settings, code and data to run it again, and the machine that it ran on.

    `data_warnings` says how the task files may differ from the official ones: unknown content, other sizes. Names
    of files in it and in `skipped_rows` are the official ones. `track_settings` has what the track fixes, by part.
    """

    command: str
    config_fingerprint: str
    gin_text: str
    git_commit: str
    git_dirty: bool
    versions: dict[str, str]
    device: dict[str, str | int | float | bool | None]
    numerics: Numerics
    data_digests: dict[str, str]
    vocabulary_digest: str
    track_settings: dict[str, TrackSettings] = Field(default_factory=dict)
    checkpoints: dict[str, CheckpointSource] = Field(default_factory=dict)
    data_warnings: list[str] = Field(default_factory=list)
    skipped_rows: dict[str, SkippedRows] = Field(default_factory=dict)
    timing: dict[str, str | int | float] = Field(default_factory=dict)

    @property
    def embedded_data(self) -> bool:
        """True where the data were generated by this project, so that scores say nothing about real language."""
        return bool(_EMBEDDED_SOURCE.search(self.gin_text))


class ReportedScore(StrictModel):
    """A score as a publication prints it, in percent (correlations times 100), with its source.

    `name` is a task of the catalogue, the id of an average (`unknown` where its definition was not stated), or
    `masked_lm`. `metric` is null for an average.
    """

    family: Literal["task", "average", "masked_lm"]
    name: str = Field(min_length=1, max_length=60)
    split: Literal["validation", "test", "unknown"]
    metric: str | None
    value: Percent
    source: str = Field(min_length=1, max_length=400)
    note: str = Field(default="", max_length=400)


class Measurement(StrictModel):
    """Where, when and how the latencies of a reported system were obtained; its scores are not from there.

    `settings` is the LatencyConfig, in the form of `to_dict`. The parameters are random ones. `absent` says why a
    runtime or a chip gave no latency.
    """

    command: str
    settings: dict[str, Any]
    git_commit: str
    git_dirty: bool
    versions: dict[str, str]
    device: dict[str, str | int | float | bool | None]
    numerics: Numerics
    finished_utc: str
    absent: dict[str, str] = Field(default_factory=dict)


class Record(StrictModel):
    """One system in one track; `reported` and `measurement` are those of a system of kind `reported`."""

    schema_version: Literal[4] = 4
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,159}$")
    track: str
    track_version: str
    trust: Trust
    system: System
    tasks: list[TaskScore]
    unscored: list[Unscored] = Field(default_factory=list)
    averages: dict[str, Percent] = Field(default_factory=dict)
    latency: list[LatencyBlock]
    training: Training | None
    search: SearchExcerpt | None = None
    provenance: Provenance | None
    reported: list[ReportedScore] = Field(default_factory=list)
    measurement: Measurement | None = None

    @model_validator(mode="after")
    def _reproducible(self) -> Record:
        if self.system.kind == "reported":
            return self
        if self.provenance is None or self.training is None:
            raise ValueError("training and provenance are required unless system.kind is 'reported'")
        if self.reported or self.measurement is not None:
            raise ValueError("reported and measurement are expected only where system.kind is 'reported'")
        return self


def parse(text: str, name: str = "record") -> Record:
    """Reads one record from JSON text.

    Args:
        text: the JSON text, as `strict_json` reads it; unknown fields are refused.
        name: file name for messages.

    Raises:
        RecordError: the text is not a valid record.
    """
    try:
        value = strict_json(text)
    except ValueError as error:
        raise RecordError(f"{name}: not strict JSON: {error}") from None
    version = value.get("schema_version") if isinstance(value, dict) else None
    if version not in (*UPGRADES, SCHEMA_VERSION) or isinstance(version, bool):
        raise RecordError(f"{name}: schema_version = {version!r}: this program reads versions 1 to {SCHEMA_VERSION}")
    for older in range(version, SCHEMA_VERSION):
        value = UPGRADES[older](value)
    return validated(Record, value, name, RecordError)


def read(path: Path) -> Record:
    """Reads one record file; see `parse`."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from None


def write(path: Path, record: Record) -> None:
    """Writes a record, after reading its own text back."""
    text = json.dumps(record.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    # Thousands of samples get one line for each process instead of each sample. No string contains a line break.
    text = _INTEGERS.sub(lambda found: "[" + " ".join(found[1].split()) + "]", text)
    if parse(text, str(path)) != record:
        raise RecordError(f"{path}: the record does not survive writing and reading")
    write_text(path, text)


_CIRCUMSTANCES = ("timing", "command", "git_commit", "git_dirty", "device")


def comparable(record: Record) -> dict[str, Any]:
    """Returns the part of a record that its settings determine: equal on every machine with portable numerics.

    Left out are measured latencies, times, the command line, the commit and the machine.
    """
    value = record.model_dump(mode="json", exclude={"measurement"})
    value["latency"] = [block for block in value["latency"] if block["method"] != "measured"]
    if value["provenance"]:
        value["provenance"] = {k: v for k, v in value["provenance"].items() if k not in _CIRCUMSTANCES}
    return value
