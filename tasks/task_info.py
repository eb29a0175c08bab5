"""The entries of the catalogue: metrics, tasks, and tasks in the form of the hubs. Standard library only."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tasks.system.errors import DataError, nearest_match_hint

if TYPE_CHECKING:
    from tasks.own_task import OwnTask

Kind = Literal["classification", "regression", "span"]

SPLITS = ("train", "validation", "test")
# The first part of `TaskInfo.directory` -> the names that people have for this folder; "" is the data root itself.
GROUP_FOLDERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"glue": ("glue", "glue_data", "GLUE", ""), "squad": ("squad", "SQuAD", "")}
)


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """A metric, with the meaning of its values."""

    # The key of the score.
    name: str
    # False where lower values are better.
    higher_is_better: bool = True
    # The lowest possible value, in percent.
    minimum: float = 0.0
    # The highest possible value, in percent.
    maximum: float = 100.0
    description: str


def _metric(name: str, description: str, minimum: float = 0.0) -> tuple[str, MetricInfo]:
    return name, MetricInfo(name=name, description=description, minimum=minimum)


METRICS: Mapping[str, MetricInfo] = MappingProxyType(
    dict(
        (
            _metric("accuracy", "share of examples whose predicted label is the reference label"),
            _metric("f1", "F1 of label 1; for span tasks the mean token F1 of the official SQuAD script"),
            _metric("macro_f1", "mean over the labels of the F1 of each, of those that references or predictions have"),
            _metric("matthews", "Matthews correlation of labels and predictions, times 100", minimum=-100.0),
            _metric("pearson", "Pearson correlation of scores and predictions, times 100", minimum=-100.0),
            _metric("spearman", "Spearman rank correlation of scores and predictions, times 100", minimum=-100.0),
            _metric("exact_match", "share of answers equal to a reference answer after SQuAD normalisation"),
        )
    )
)


def _empty_mapping() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class HubTask:
    """A task in TensorFlow Datasets and on the Hugging Face hub: places and names."""

    # Its name in TensorFlow Datasets, with the version that is read.
    tfds: str
    # Its folder below the data root in a copy of the Hugging Face hub.
    folder: str
    # The columns of the texts, in the order of `tasks.catalogue.text_field_names`.
    texts: tuple[str, ...]
    # The names of the labels, a label's position being its id; the ids are those of `TaskInfo.label_names`.
    classes: tuple[str, ...] = ()
    # Our name of a split -> theirs, where they differ.
    splits: Mapping[str, str] = field(default_factory=_empty_mapping)

    def split(self, name: str) -> str:
        """Returns the hubs' name of one of our splits."""
        return self.splits.get(name, name)

    def columns(self) -> tuple[str, ...]:
        """Lists the columns of an example; `idx` and the label may be missing."""
        span = self.texts == ("question", "context")
        return ("id", "title", "context", "question", "answers") if span else self.texts


@dataclass(frozen=True, kw_only=True)
class TaskInfo:
    """A task as data."""

    # The versioned name.
    name: str
    # The customary name, such as `MNLI-m`.
    title: str
    # `classification` (integer labels), `regression` (float labels) or `span` (answers cut from a context).
    kind: Kind
    # The folder of its files below the data root, in the official layout.
    directory: str
    # Split -> file name without `.tsv` or `.json` (and without that of a compression).
    split_stems: Mapping[str, str]
    # Split -> further customary names of its file, relative to the parent of `directory`.
    other_files: Mapping[str, tuple[str, ...]] = field(default_factory=_empty_mapping)
    # Split -> file names in `directory` that the split can be made of; see `tasks.files.layouts`.
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=_empty_mapping)
    # The splits that a run can do without.
    optional_splits: tuple[str, ...] = ("test",)
    # The official columns of the text, one or two, in the order in which the model reads them.
    text_columns: tuple[str, ...]
    # The official column of the label ("" for span tasks).
    label_column: str = "label"
    # Split -> {column: its name in the file of this split}.
    renamed_columns: Mapping[str, Mapping[str, str]] = field(default_factory=_empty_mapping)
    # The official label strings, a label's position being its id (empty for regression and span tasks).
    label_names: tuple[str, ...] = ()
    # Lowest and highest label of a regression task.
    label_range: tuple[float, float] | None = None
    # The column names of splits whose file has no header line.
    headerless_columns: Mapping[str, tuple[str, ...]] = field(default_factory=_empty_mapping)
    # Names in `METRICS`, the primary one first.
    metrics: tuple[str, ...]
    # Split -> official number of examples.
    split_sizes: Mapping[str, int]
    # The largest difference from the official number of examples that still counts as right.
    size_tolerance: int = 0
    # True where rows with a wrong number of columns are skipped (the official QQP file has some).
    skips_broken_rows: bool = False
    # The task whose fine-tuned model predicts this one, which has no training data ("" for the others).
    trained_on: str = ""
    # The customary number of tokens per row.
    max_length: int = 128
    # The ids of the averages (`tasks.scoring.averages.AVERAGES`) that the task is part of.
    in_averages: tuple[str, ...] = ()
    # The task in the form of the hubs (None: it is read from official files only).
    hub: HubTask | None = None
    # A validation file of one row to describe the task with ("": the embedded data has the task).
    made_up_file: str = ""
    # The files of a task that is not in the catalogue (None: it is).
    own: OwnTask | None = None
    # The source of the task.
    citation: str
    # The address of its files.
    download: str

    # Places and users of a task may grow without a new version: scores do not depend on them.
    NOT_IN_DEFINITION: ClassVar[tuple[str, ...]] = (
        "other_files",
        "in_averages",
        "hub",
        "made_up_file",
        "own",
        "citation",
        "download",
    )

    def __post_init__(self) -> None:
        """Makes the mappings read-only and checks metrics, splits and the group folder."""
        for name in ("split_stems", "other_files", "parts", "renamed_columns", "headerless_columns", "split_sizes"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        if unknown := set(self.metrics) - set(METRICS):
            raise DataError(f"task {self.name}: unknown metrics {sorted(unknown)}")
        if not set(self.split_stems) <= set(SPLITS):
            raise DataError(f"task {self.name}: splits {sorted(self.split_stems)} are not among {SPLITS}")
        if self.own is None and (group := self.directory.partition("/")[0]) not in GROUP_FOLDERS:
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
    def has_no_answer_option(self) -> bool:
        """True where questions of a span task may have no answer: the rules of SQuAD v2.0 instead of v1.1."""
        return self.own.unanswerable if self.own is not None else self.name.startswith("squad_v2")

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


def own_task_info(own: OwnTask) -> TaskInfo:
    """Makes the entry of an own task; without label names, before the data stage has found them, it has no labels."""
    low_high = own.label_range
    return TaskInfo(
        name=own.name,
        title=own.title,
        kind=own.kind,
        directory="",
        split_stems={split: own.file(split).name for split in own.splits},
        optional_splits=(),
        text_columns=own.text_columns,
        label_column=own.label_column,
        label_names=own.label_names,
        label_range=(low_high[0], low_high[1]) if low_high else None,
        metrics=own.metrics,
        split_sizes={},
        own=own,
        citation="",
        download="",
    )


def text_field_names(info: TaskInfo) -> tuple[str, ...]:
    """Names the text fields of an example as `tasks.files.readers.read_examples` yields it.

    Returns:
        The official names where a task has its own (QNLI, QQP, SQuAD), else `sentence` or `sentence1`, `sentence2`.
    """
    if info.kind == "span":
        return ("question", "context")
    if len(info.text_columns) == 1:
        return ("sentence",)
    if info.own is not None or any(column.startswith("#") for column in info.text_columns):
        # MRPC's columns are called `#1 String` and `#2 String`, which are awkward to type; own ones may be `label`.
        return ("sentence1", "sentence2")
    return info.text_columns
