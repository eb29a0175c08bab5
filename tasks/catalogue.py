"""What each task is: columns, labels, metrics, official sizes. Standard library only.

Task names end in `_vN`, the version of *our* definition: a published definition is never edited, a change gets a new
name. SQuAD carries two versions, its own and ours: `squad_v1_1_v1` is version 1 of the task on SQuAD v1.1 and
`squad_v2_0_v1` the one on SQuAD v2.0.

Sizes are those of the published GLUE and SQuAD releases (Wang et al. 2018, arXiv 1804.07461; Rajpurkar et al. 2016,
arXiv 1606.05250, and 2018, arXiv 1806.03822). For QQP the known counts differ by three, because its official file has
broken rows that each reader skips in its own way; `size_tolerance` covers that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from tasks.errors import DataError, nearest_match_hint

__all__ = ["METRICS", "SPLITS", "TASKS", "DataError", "MetricInfo", "TaskInfo", "get_task", "text_field_names"]

Kind = Literal["classification", "regression", "span"]

SPLITS = ("train", "validation", "test")


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


@dataclass(frozen=True, kw_only=True)
class TaskInfo:
    """A task as data.

    Attributes:
      name: the versioned name.
      title: the name people use, such as `MNLI-m`.
      kind: `classification` (integer labels), `regression` (float labels) or `span` (answers cut from a context).
      directory: the folder of its files below the data root, in the official layout.
      split_stems: split -> file name without `.tsv` or `.json` (and without `.gz` or `.xz`).
      text_columns: the official columns of the text, one or two, in the order in which the model reads them.
      label_column: the official column of the label ("" for span tasks).
      label_names: the official label strings, a label's position being its id (empty for regression and span tasks).
      label_range: lowest and highest label of a regression task.
      headerless_columns: the column names of splits whose file has no header line.
      metrics: names in `METRICS`, the primary one first.
      split_sizes: split -> official number of examples.
      size_tolerance: how far a count may be from the official one and still be right.
      skips_broken_rows: whether rows with a wrong number of columns are skipped (the official QQP file has some).
      max_length: the customary number of tokens per row.
      in_averages: the ids of the averages (`tasks.metrics.AVERAGES`) that the task is part of.
      citation: where the task comes from.
    """

    name: str
    title: str
    kind: Kind
    directory: str
    split_stems: Mapping[str, str]
    text_columns: tuple[str, ...]
    label_column: str = "label"
    label_names: tuple[str, ...] = ()
    label_range: tuple[float, float] | None = None
    headerless_columns: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    metrics: tuple[str, ...]
    split_sizes: Mapping[str, int]
    size_tolerance: int = 0
    skips_broken_rows: bool = False
    max_length: int = 128
    in_averages: tuple[str, ...] = ("official9", "col9", "task8_m", "dev9_wnli", "t5_8")
    citation: str

    def __post_init__(self) -> None:
        """Makes the mappings read-only and checks what a typo would break."""
        for name in ("split_stems", "headerless_columns", "split_sizes"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        if unknown := set(self.metrics) - set(METRICS):
            raise DataError(f"task {self.name}: unknown metrics {sorted(unknown)}")
        if not set(self.split_stems) <= set(SPLITS):
            raise DataError(f"task {self.name}: splits {sorted(self.split_stems)} are not among {SPLITS}")

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


def _stems(validation: str = "dev", test: str = "test") -> dict[str, str]:
    return {"train": "train", "validation": validation, "test": test}


def _sizes(train: int, validation: int, test: int | None = None) -> dict[str, int]:
    sizes = {"train": train, "validation": validation}
    return sizes if test is None else {**sizes, "test": test}


_ENTAILMENT = ("entailment", "not_entailment")
_COLA_COLUMNS = ("source", "label", "mark", "sentence")

_CATALOGUE = (
    TaskInfo(
        name="glue_cola_v1",
        title="CoLA",
        kind="classification",
        directory="glue/CoLA",
        split_stems=_stems(),
        text_columns=("sentence",),
        label_names=("0", "1"),
        headerless_columns={"train": _COLA_COLUMNS, "validation": _COLA_COLUMNS},
        metrics=("matthews",),
        split_sizes=_sizes(8_551, 1_043, 1_063),
        citation="Warstadt et al. 2018, arXiv 1805.12471",
    ),
    TaskInfo(
        name="glue_sst2_v1",
        title="SST-2",
        kind="classification",
        directory="glue/SST-2",
        split_stems=_stems(),
        text_columns=("sentence",),
        label_names=("0", "1"),
        metrics=("accuracy",),
        split_sizes=_sizes(67_349, 872, 1_821),
        citation="Socher et al. 2013, https://aclanthology.org/D13-1170",
    ),
    TaskInfo(
        name="glue_mrpc_v1",
        title="MRPC",
        kind="classification",
        directory="glue/MRPC",
        split_stems=_stems(),
        text_columns=("#1 String", "#2 String"),
        label_column="Quality",
        label_names=("0", "1"),
        metrics=("f1", "accuracy"),
        split_sizes=_sizes(3_668, 408, 1_725),
        citation="Dolan and Brockett 2005, https://aclanthology.org/I05-5002",
    ),
    TaskInfo(
        name="glue_stsb_v1",
        title="STS-B",
        kind="regression",
        directory="glue/STS-B",
        split_stems=_stems(),
        text_columns=("sentence1", "sentence2"),
        label_column="score",
        label_range=(0.0, 5.0),
        metrics=("spearman", "pearson"),
        split_sizes=_sizes(5_749, 1_500, 1_379),
        citation="Cer et al. 2017, arXiv 1708.00055",
    ),
    TaskInfo(
        name="glue_qqp_v1",
        title="QQP",
        kind="classification",
        directory="glue/QQP",
        split_stems=_stems(),
        text_columns=("question1", "question2"),
        label_column="is_duplicate",
        label_names=("0", "1"),
        metrics=("f1", "accuracy"),
        split_sizes=_sizes(363_849, 40_430, 390_965),
        size_tolerance=3,
        skips_broken_rows=True,
        citation="Iyer et al. 2017, Quora Question Pairs",
    ),
    TaskInfo(
        name="glue_mnli_matched_v1",
        title="MNLI-m",
        kind="classification",
        directory="glue/MNLI",
        split_stems=_stems("dev_matched", "test_matched"),
        text_columns=("sentence1", "sentence2"),
        label_column="gold_label",
        label_names=("entailment", "neutral", "contradiction"),
        metrics=("accuracy",),
        split_sizes=_sizes(392_702, 9_815, 9_796),
        citation="Williams et al. 2018, arXiv 1704.05426",
    ),
    TaskInfo(
        name="glue_mnli_mismatched_v1",
        title="MNLI-mm",
        kind="classification",
        directory="glue/MNLI",
        split_stems=_stems("dev_mismatched", "test_mismatched"),
        text_columns=("sentence1", "sentence2"),
        label_column="gold_label",
        label_names=("entailment", "neutral", "contradiction"),
        metrics=("accuracy",),
        split_sizes=_sizes(392_702, 9_832, 9_847),
        in_averages=("official9", "col9", "t5_8"),
        citation="Williams et al. 2018, arXiv 1704.05426",
    ),
    TaskInfo(
        name="glue_qnli_v1",
        title="QNLI",
        kind="classification",
        directory="glue/QNLI",
        split_stems=_stems(),
        text_columns=("question", "sentence"),
        label_names=_ENTAILMENT,
        metrics=("accuracy",),
        split_sizes=_sizes(104_743, 5_463, 5_463),
        citation="Wang et al. 2018, arXiv 1804.07461 (from SQuAD v1.1)",
    ),
    TaskInfo(
        name="glue_rte_v1",
        title="RTE",
        kind="classification",
        directory="glue/RTE",
        split_stems=_stems(),
        text_columns=("sentence1", "sentence2"),
        label_names=_ENTAILMENT,
        metrics=("accuracy",),
        split_sizes=_sizes(2_490, 277, 3_000),
        citation="Bentivogli et al. 2009 and the three PASCAL RTE challenges before it",
    ),
    TaskInfo(
        name="glue_wnli_v1",
        title="WNLI",
        kind="classification",
        directory="glue/WNLI",
        split_stems=_stems(),
        text_columns=("sentence1", "sentence2"),
        label_names=("0", "1"),
        metrics=("accuracy",),
        split_sizes=_sizes(635, 71, 146),
        in_averages=("official9", "dev9_wnli"),
        citation="Levesque et al. 2012, recast in arXiv 1804.07461",
    ),
    TaskInfo(
        name="squad_v1_1_v1",
        title="SQuAD v1.1",
        kind="span",
        directory="squad",
        split_stems={"train": "train-v1.1", "validation": "dev-v1.1"},
        text_columns=("question", "context"),
        label_column="",
        metrics=("f1", "exact_match"),
        split_sizes=_sizes(87_599, 10_570),
        max_length=384,
        in_averages=(),
        citation="Rajpurkar et al. 2016, arXiv 1606.05250",
    ),
    TaskInfo(
        name="squad_v2_0_v1",
        title="SQuAD v2.0",
        kind="span",
        directory="squad",
        split_stems={"train": "train-v2.0", "validation": "dev-v2.0"},
        text_columns=("question", "context"),
        label_column="",
        metrics=("f1", "exact_match"),
        split_sizes=_sizes(130_319, 11_873),
        max_length=384,
        in_averages=(),
        citation="Rajpurkar et al. 2018, arXiv 1806.03822",
    ),
)

TASKS: Mapping[str, TaskInfo] = MappingProxyType({info.name: info for info in _CATALOGUE})


def get_task(name: str) -> TaskInfo:
    """Looks a task up.

    Args:
      name: its versioned name, such as `glue_sst2_v1`.

    Returns:
      the entry of `TASKS`.

    Raises:
      DataError: if there is no such task; the message names the nearest ones.
    """
    if name not in TASKS:
        raise DataError(f"unknown task '{name}': {nearest_match_hint(name, TASKS)}")
    return TASKS[name]


def text_field_names(info: TaskInfo) -> tuple[str, ...]:
    """Names the text fields of an example as `tasks.readers.read_examples` hands it out.

    Args:
      info: the task.

    Returns:
      the official names where a task has its own (QNLI, QQP, SQuAD), else `sentence` or `sentence1`, `sentence2`.
    """
    if len(info.text_columns) == 1:
        return ("sentence",)
    if any(column.startswith("#") for column in info.text_columns):
        # MRPC's columns are called `#1 String` and `#2 String`, names that nobody wants to type.
        return ("sentence1", "sentence2")
    return info.text_columns
