"""The catalogue of tasks: columns, labels, metrics, official sizes. Standard library only.

Task names end in `_vN`, the version of *our* definition: a published definition is never edited, a change gets a new
name. SQuAD carries two versions, its own and ours: `squad_v1_1_v1` is version 1 of the task on SQuAD v1.1 and
`squad_v2_0_v1` the one on SQuAD v2.0.

Sizes are those of the published GLUE and SQuAD releases (Wang et al. 2018, arXiv 1804.07461; Rajpurkar et al. 2016,
arXiv 1606.05250, and 2018, arXiv 1806.03822). For QQP the known counts differ by three, because its official file has
broken rows that each reader skips in its own way; `size_tolerance` covers that.

MNLI-mm and AX have no training data: they are predicted with the model that was fine-tuned on MNLI (`trained_on`). AX,
the diagnostic set, is in no average; its `validation` split is the file with labels, `test` the one without.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from tasks.own_task import OwnFile, OwnTask
from tasks.system.errors import DataError, nearest_match_hint
from tasks.task_info import (
    GROUP_FOLDERS,
    METRICS,
    SPLITS,
    HubTask,
    Kind,
    MetricInfo,
    TaskInfo,
    own_task_info,
    text_field_names,
)
from tasks.train_files import with_train_file

__all__ = [
    "GROUP_FOLDERS",
    "METRICS",
    "SPLITS",
    "TASKS",
    "DataError",
    "HubTask",
    "Kind",
    "MetricInfo",
    "OwnFile",
    "OwnTask",
    "TaskInfo",
    "find_tasks",
    "get_task",
    "official_stems",
    "own_task_info",
    "text_field_names",
]

_GLUE_DOWNLOADS = "https://dl.fbaipublicfiles.com/glue/data"
_SENTEVAL_DOWNLOADS = "https://dl.fbaipublicfiles.com/senteval/senteval_data"
_SQUAD_DOWNLOADS = "https://rajpurkar.github.io/SQuAD-explorer/dataset"


def _stems(validation: str = "dev", test: str = "test") -> dict[str, str]:
    return {"train": "train", "validation": validation, "test": test}


def _sizes(train: int, validation: int, test: int | None = None) -> dict[str, int]:
    sizes = {"train": train, "validation": validation}
    return sizes if test is None else {**sizes, "test": test}


def _hub(config: str, texts: tuple[str, ...], classes: tuple[str, ...] = (), suffix: str = "") -> HubTask:
    splits = {name: name + suffix for name in ("validation", "test")} if suffix else {}
    return HubTask(tfds=f"glue/{config}:2.0.0", folder=f"glue/{config}", texts=texts, classes=classes, splits=splits)


_ALL_AVERAGES = ("official9", "col9", "task8_m", "dev9_wnli", "t5_8")
_SENTENCES = ("sentence1", "sentence2")
_PREMISE = ("premise", "hypothesis")
_NLI = ("entailment", "neutral", "contradiction")
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
        in_averages=_ALL_AVERAGES,
        hub=_hub("cola", ("sentence",), ("unacceptable", "acceptable")),
        citation="Warstadt et al. 2018, arXiv 1805.12471",
        download=f"{_GLUE_DOWNLOADS}/CoLA.zip",
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
        in_averages=_ALL_AVERAGES,
        hub=_hub("sst2", ("sentence",), ("negative", "positive")),
        citation="Socher et al. 2013, https://aclanthology.org/D13-1170",
        download=f"{_GLUE_DOWNLOADS}/SST-2.zip",
    ),
    TaskInfo(
        name="glue_mrpc_v1",
        title="MRPC",
        kind="classification",
        directory="glue/MRPC",
        split_stems=_stems(),
        parts={
            "train": ("msr_paraphrase_train.txt", "dev_ids.tsv"),
            "validation": ("msr_paraphrase_train.txt", "dev_ids.tsv"),
            "test": ("msr_paraphrase_test.txt",),
        },
        text_columns=("#1 String", "#2 String"),
        label_column="Quality",
        label_names=("0", "1"),
        metrics=("f1", "accuracy"),
        split_sizes=_sizes(3_668, 408, 1_725),
        in_averages=_ALL_AVERAGES,
        hub=_hub("mrpc", _SENTENCES, ("not_equivalent", "equivalent")),
        citation="Dolan and Brockett 2005, https://aclanthology.org/I05-5002",
        download=f"{_SENTEVAL_DOWNLOADS}/msr_paraphrase_{{train,test}}.txt and, for the split, GLUE's dev_ids.tsv",
    ),
    TaskInfo(
        name="glue_stsb_v1",
        title="STS-B",
        kind="regression",
        directory="glue/STS-B",
        split_stems=_stems(),
        text_columns=_SENTENCES,
        label_column="score",
        label_range=(0.0, 5.0),
        metrics=("spearman", "pearson"),
        split_sizes=_sizes(5_749, 1_500, 1_379),
        in_averages=_ALL_AVERAGES,
        hub=_hub("stsb", _SENTENCES),
        citation="Cer et al. 2017, arXiv 1708.00055",
        download=f"{_GLUE_DOWNLOADS}/STS-B.zip",
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
        in_averages=_ALL_AVERAGES,
        hub=_hub("qqp", ("question1", "question2"), ("not_duplicate", "duplicate")),
        citation="Iyer et al. 2017, Quora Question Pairs",
        download=f"{_GLUE_DOWNLOADS}/QQP.zip",
    ),
    TaskInfo(
        name="glue_mnli_matched_v1",
        title="MNLI-m",
        kind="classification",
        directory="glue/MNLI",
        split_stems=_stems("dev_matched", "test_matched"),
        text_columns=_SENTENCES,
        label_column="gold_label",
        label_names=_NLI,
        metrics=("accuracy",),
        split_sizes=_sizes(392_702, 9_815, 9_796),
        in_averages=_ALL_AVERAGES,
        hub=_hub("mnli", _PREMISE, _NLI, "_matched"),
        citation="Williams et al. 2018, arXiv 1704.05426",
        download=f"{_GLUE_DOWNLOADS}/MNLI.zip",
    ),
    TaskInfo(
        name="glue_mnli_mismatched_v1",
        title="MNLI-mm",
        kind="classification",
        directory="glue/MNLI",
        split_stems={"validation": "dev_mismatched", "test": "test_mismatched"},
        text_columns=_SENTENCES,
        label_column="gold_label",
        label_names=_NLI,
        metrics=("accuracy",),
        split_sizes={"validation": 9_832, "test": 9_847},
        trained_on="glue_mnli_matched_v1",
        in_averages=("official9", "col9", "t5_8"),
        hub=_hub("mnli", _PREMISE, _NLI, "_mismatched"),
        citation="Williams et al. 2018, arXiv 1704.05426",
        download=f"{_GLUE_DOWNLOADS}/MNLI.zip",
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
        in_averages=_ALL_AVERAGES,
        hub=_hub("qnli", ("question", "sentence"), _ENTAILMENT),
        citation="Wang et al. 2018, arXiv 1804.07461 (from SQuAD v1.1)",
        download=f"{_GLUE_DOWNLOADS}/QNLIv2.zip",
    ),
    TaskInfo(
        name="glue_rte_v1",
        title="RTE",
        kind="classification",
        directory="glue/RTE",
        split_stems=_stems(),
        text_columns=_SENTENCES,
        label_names=_ENTAILMENT,
        metrics=("accuracy",),
        split_sizes=_sizes(2_490, 277, 3_000),
        in_averages=_ALL_AVERAGES,
        hub=_hub("rte", _SENTENCES, _ENTAILMENT),
        citation="Bentivogli et al. 2009 and the three PASCAL RTE challenges before it",
        download=f"{_GLUE_DOWNLOADS}/RTE.zip",
    ),
    TaskInfo(
        name="glue_wnli_v1",
        title="WNLI",
        kind="classification",
        directory="glue/WNLI",
        split_stems=_stems(),
        text_columns=_SENTENCES,
        label_names=("0", "1"),
        metrics=("accuracy",),
        split_sizes=_sizes(635, 71, 146),
        in_averages=("official9", "dev9_wnli"),
        hub=_hub("wnli", _SENTENCES, ("not_entailment", "entailment")),
        made_up_file="index\tsentence1\tsentence2\tlabel\n"
        "0\tThe piano did not go through the door because it was too wide.\tThe piano was too wide.\t1\n",
        citation="Levesque et al. 2012, recast in arXiv 1804.07461",
        download=f"{_GLUE_DOWNLOADS}/WNLI.zip",
    ),
    TaskInfo(
        name="glue_ax_v1",
        title="AX",
        kind="classification",
        directory="glue/AX",
        split_stems={"validation": "diagnostic-full", "test": "diagnostic"},
        other_files={
            "validation": ("diagnostic/diagnostic-full.tsv", "MNLI/diagnostic-full.tsv"),
            "test": (
                "AX/AX.tsv",
                "AX/test.tsv",
                "diagnostic/diagnostic.tsv",
                "diagnostic/AX.tsv",
                "MNLI/diagnostic.tsv",
            ),
        },
        optional_splits=("validation", "test"),
        text_columns=_SENTENCES,
        renamed_columns={"validation": {"sentence1": "Premise", "sentence2": "Hypothesis", "label": "Label"}},
        label_names=_NLI,
        metrics=("matthews",),
        split_sizes={"validation": 1_104, "test": 1_104},
        trained_on="glue_mnli_matched_v1",
        hub=_hub("ax", _PREMISE, _NLI),
        made_up_file="Premise\tHypothesis\tLabel\n"
        "The boy who found the key did not open the box.\tThe boy opened the box.\tcontradiction\n",
        citation="Wang et al. 2018, arXiv 1804.07461",
        download="https://gluebenchmark.com/diagnostics",
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
        # Version 3.0.0 is the first whose contexts keep their outer white space: before, 19 answers missed their text.
        hub=HubTask(tfds="squad/v1.1:3.0.0", folder="squad", texts=("question", "context")),
        citation="Rajpurkar et al. 2016, arXiv 1606.05250",
        download=f"{_SQUAD_DOWNLOADS}/{{train,dev}}-v1.1.json",
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
        hub=HubTask(tfds="squad/v2.0:3.0.0", folder="squad_v2", texts=("question", "context")),
        citation="Rajpurkar et al. 2018, arXiv 1806.03822",
        download=f"{_SQUAD_DOWNLOADS}/{{train,dev}}-v2.0.json",
    ),
)

TASKS: Mapping[str, TaskInfo] = MappingProxyType({info.name: info for info in _CATALOGUE})


def get_task(name: str) -> TaskInfo:
    """Looks a task up.

    Args:
        name: its versioned name, such as `glue_sst2_v1`.

    Returns:
        The entry of `TASKS`.

    Raises:
        DataError: if there is no such task; the message names the nearest ones.
    """
    if name not in TASKS:
        raise DataError(f"unknown task '{name}': {nearest_match_hint(name, TASKS)}")
    return TASKS[name]


def find_tasks(
    names: Iterable[str],
    own: Iterable[OwnTask] = (),
    train_files: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, TaskInfo]:
    """Looks up tasks of the catalogue and own tasks.

    Args:
        names: their names.
        own: definitions of the tasks that the catalogue lacks.
        train_files: task of the catalogue -> name of the training file that it has instead of the official one.

    Returns:
        Name -> entry, in the order of the names.

    Raises:
        DataError: as `get_task`, and for a file that a task may not have (`tasks.train_files`).
    """
    own_tasks = {task.name: task for task in own}

    def entry(name: str) -> TaskInfo:
        info = own_task_info(own_tasks[name]) if name in own_tasks else get_task(name)
        return with_train_file(info, train_files[name], official_stems(info)) if name in train_files else info

    return {name: entry(name) for name in names}


def official_stems(info: TaskInfo) -> frozenset[str]:
    """Names the official files in the folder of a task, without endings; MNLI's two tasks share one."""
    tasks = (other for other in TASKS.values() if other.directory == info.directory)
    return frozenset(stem for other in tasks for stem in other.split_stems.values())
