"""The shape of a catalogue entry: what is known of a metric and of a task. Standard library only."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from tasks.system.errors import DataError, nearest_match_hint

Kind = Literal["classification", "regression", "span"]

SPLITS = ("train", "validation", "test")
# The first part of `TaskInfo.directory` -> the names that people have for this folder; "" is the data root itself.
GROUP_FOLDERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"glue": ("glue", "glue_data", "GLUE", ""), "squad": ("squad", "SQuAD", "")}
)


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """A score: how to read it.

    Attributes:
        name: the key of the score.
        higher_is_better: the direction.
        minimum: the lowest possible value, in percent.
        maximum: the highest possible value, in percent.
        description: one sentence.
    """

    name: str
    higher_is_better: bool = True
    minimum: float = 0.0
    maximum: float = 100.0
    description: str


def _metric(name: str, description: str, minimum: float = 0.0) -> tuple[str, MetricInfo]:
    return name, MetricInfo(name=name, description=description, minimum=minimum)


METRICS: Mapping[str, MetricInfo] = MappingProxyType(
    dict(
        (
            _metric("accuracy", "share of examples whose predicted label is the reference label"),
            _metric("f1", "F1 of label 1; for span tasks the mean token F1 of the official SQuAD script"),
            _metric("matthews", "Matthews correlation of labels and predictions, times 100", minimum=-100.0),
            _metric("pearson", "Pearson correlation of scores and predictions, times 100", minimum=-100.0),
            _metric("spearman", "Spearman rank correlation of scores and predictions, times 100", minimum=-100.0),
            _metric("exact_match", "share of answers equal to a reference answer after SQuAD normalisation"),
        )
    )
)


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class HubTask:
    """Where TensorFlow Datasets and the Hugging Face hub hold a task, and under which names.

    Attributes:
        tfds: its name in TensorFlow Datasets, with the version that is read.
        folder: its folder below the data root in a copy of the Hugging Face hub.
        texts: the columns of the texts, in the order of `tasks.catalogue.text_field_names`.
        classes: the names of the labels, a label's position being its id; the ids are those of `TaskInfo.label_names`.
        splits: our name of a split -> theirs, where they differ.
    """

    tfds: str
    folder: str
    texts: tuple[str, ...]
    classes: tuple[str, ...] = ()
    splits: Mapping[str, str] = field(default_factory=_nothing)

    def split(self, name: str) -> str:
        """Gives the hubs' name of one of our splits."""
        return self.splits.get(name, name)

    def columns(self) -> tuple[str, ...]:
        """Names the columns that an example is made of; `idx` and the label may be missing."""
        span = self.texts == ("question", "context")
        return ("id", "title", "context", "question", "answers") if span else self.texts


@dataclass(frozen=True, kw_only=True)
class TaskInfo:
    """A task as data.

    Attributes:
        name: the versioned name.
        title: the name people use, such as `MNLI-m`.
        kind: `classification` (integer labels), `regression` (float labels) or `span` (answers cut from a context).
        directory: the folder of its files below the data root, in the official layout.
        split_stems: split -> file name without `.tsv` or `.json` (and without `.gz` or `.xz`).
        other_files: split -> further names under which people have its file, relative to the parent of `directory`.
        parts: split -> file names in `directory` that the split can be made of; see `tasks.files.layouts`.
        optional_splits: the splits that a run can do without.
        text_columns: the official columns of the text, one or two, in the order in which the model reads them.
        label_column: the official column of the label ("" for span tasks).
        renamed_columns: split -> {column: what this split's file calls it}.
        label_names: the official label strings, a label's position being its id (empty for regression and span tasks).
        label_range: lowest and highest label of a regression task.
        headerless_columns: the column names of splits whose file has no header line.
        metrics: names in `METRICS`, the primary one first.
        split_sizes: split -> official number of examples.
        size_tolerance: how far a count may be from the official one and still be right.
        skips_broken_rows: whether rows with a wrong number of columns are skipped (the official QQP file has some).
        trained_on: the task whose fine-tuned model predicts this one, which has no training data ("" for the others).
        max_length: the customary number of tokens per row.
        in_averages: the ids of the averages (`tasks.scoring.averages.AVERAGES`) that the task is part of.
        hub: how hubs hold the task (None: it is read from official files only).
        made_up_file: a validation file of one row to describe the task with ("": the embedded data has the task).
        citation: where the task comes from.
        download: where its files are.
    """

    name: str
    title: str
    kind: Kind
    directory: str
    split_stems: Mapping[str, str]
    other_files: Mapping[str, tuple[str, ...]] = field(default_factory=_nothing)
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=_nothing)
    optional_splits: tuple[str, ...] = ("test",)
    text_columns: tuple[str, ...]
    label_column: str = "label"
    renamed_columns: Mapping[str, Mapping[str, str]] = field(default_factory=_nothing)
    label_names: tuple[str, ...] = ()
    label_range: tuple[float, float] | None = None
    headerless_columns: Mapping[str, tuple[str, ...]] = field(default_factory=_nothing)
    metrics: tuple[str, ...]
    split_sizes: Mapping[str, int]
    size_tolerance: int = 0
    skips_broken_rows: bool = False
    trained_on: str = ""
    max_length: int = 128
    in_averages: tuple[str, ...] = ()
    hub: HubTask | None = None
    made_up_file: str = ""
    citation: str
    download: str

    # What says where a task is found, or who uses it, may grow without a new version: scores do not depend on it.
    NOT_IN_DEFINITION: ClassVar[tuple[str, ...]] = (
        "other_files",
        "in_averages",
        "hub",
        "made_up_file",
        "citation",
        "download",
    )

    def __post_init__(self) -> None:
        """Makes the mappings read-only and checks what a typo would break."""
        for name in ("split_stems", "other_files", "parts", "renamed_columns", "headerless_columns", "split_sizes"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        if unknown := set(self.metrics) - set(METRICS):
            raise DataError(f"task {self.name}: unknown metrics {sorted(unknown)}")
        if not set(self.split_stems) <= set(SPLITS):
            raise DataError(f"task {self.name}: splits {sorted(self.split_stems)} are not among {SPLITS}")
        if (group := self.directory.partition("/")[0]) not in GROUP_FOLDERS:
            raise DataError(
                f"task {self.name}: directory '{self.directory}': the group folder '{group}' is not in GROUP_FOLDERS;"
                f" {nearest_match_hint(group, GROUP_FOLDERS)}"
            )

    @property
    def primary_metric(self) -> str:
        """The metric that ranks."""
        return self.metrics[0]

    @property
    def num_labels(self) -> int:
        """The width of the classification head: number of classes, 1 for regression, 2 for start and end."""
        return {"classification": len(self.label_names), "regression": 1, "span": 2}[self.kind]

    @property
    def extension(self) -> str:
        """The file name ending of the official files."""
        return ".json" if self.kind == "span" else ".tsv"

    def official_file(self, split: str) -> str:
        """Names the official file of a split.

        Returns:
            Its path below the data root, uncompressed.
        """
        return f"{self.directory}/{self.split_stems[split]}{self.extension}"

    def definition_hash(self) -> str:
        """Digests everything that a score of this task depends on, its metrics' directions and ranges included.

        Returns:
            16 hexadecimal digits; a published entry keeps them for ever.
        """
        values = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in self.NOT_IN_DEFINITION
        }
        values["metrics"] = [dataclasses.asdict(METRICS[name]) for name in self.metrics]
        text = json.dumps(values, sort_keys=True, default=dict)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
