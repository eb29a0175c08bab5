"""Predictions in the files that the servers of GLUE and SQuAD take; each is held against the official number of rows.

GLUE's server (https://gluebenchmark.com/faq) takes one zip with a table for each test set, under fixed names. A table
has the header `index<TAB>prediction`, and labels as the training file writes them: a number of the model is the label
at this place of `label_names` in the catalogue, from which the arrays were made too. SQuAD's scripts take a JSON object
from example id to answer, for v2.0 also one from id to the probability that there is no answer; its test sets are not
public, so that these are predictions on the development set.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tasks.catalogue import TASKS
from tasks.system.errors import DataError, shown

if TYPE_CHECKING:
    from tasks.catalogue import TaskInfo

# Task -> its file in GLUE's zip.
GLUE_FILES: Mapping[str, str] = MappingProxyType(
    {
        "glue_cola_v1": "CoLA.tsv",
        "glue_sst2_v1": "SST-2.tsv",
        "glue_mrpc_v1": "MRPC.tsv",
        "glue_stsb_v1": "STS-B.tsv",
        "glue_qqp_v1": "QQP.tsv",
        "glue_mnli_matched_v1": "MNLI-m.tsv",
        "glue_mnli_mismatched_v1": "MNLI-mm.tsv",
        "glue_qnli_v1": "QNLI.tsv",
        "glue_rte_v1": "RTE.tsv",
        "glue_wnli_v1": "WNLI.tsv",
        "glue_ax_v1": "AX.tsv",
    }
)
# Task -> the folder of its files.
SQUAD_FOLDERS: Mapping[str, str] = MappingProxyType({"squad_v1_1_v1": "squad-v1.1", "squad_v2_0_v1": "squad-v2.0"})
# The oldest time that a zip can hold: equal predictions give equal bytes.
_TIME = (1980, 1, 1, 0, 0, 0)
_READABLE = 0o644 << 16
_UNIX = 3


def glue_table(task: TaskInfo, predictions: Sequence[Any]) -> str:
    """Writes the table of one test set.

    Args:
        task: a task of `GLUE_FILES`.
        predictions: for each row of the official file, in its order, the number of a label, or a score.

    Returns:
        Text with a header; indices count from 0, scores have three decimals.

    Raises:
        DataError: there are more or fewer predictions than rows in the official file, or one is no label or score.
    """
    name, official = GLUE_FILES[task.name], task.split_sizes["test"]
    if len(predictions) != official:
        raise DataError(
            f"{name}: {len(predictions):,} predictions on the test split of {task.name}; the official file has"
            f" {official:,} rows"
        )
    cells = (_cell(task, index, value) for index, value in enumerate(predictions))
    return "index\tprediction\n" + "".join(f"{index}\t{cell}\n" for index, cell in enumerate(cells))


def _cell(task: TaskInfo, index: int, value: Any) -> str:
    """Words one prediction as the server takes it."""
    if task.kind == "regression":
        low, high = task.label_range or (-math.inf, math.inf)
        if isinstance(value, float | int) and low <= value <= high:
            return f"{value:.3f}"
        accepted = f"a number from {low:g} to {high:g}"
    else:
        if type(value) is int and 0 <= value < task.num_labels:
            return task.label_names[value]
        accepted = f"the number of one of {', '.join(task.label_names)}"
    raise DataError(f"{GLUE_FILES[task.name]}: index {index}: {shown(repr(value))}; expected {accepted}")


def glue_zip(tables: Mapping[str, str]) -> bytes:
    """Packs tables into the zip of GLUE's server.

    Args:
        tables: task -> the text of `glue_table`.

    Returns:
        The bytes of the archive: equal for equal tables, whatever the time, the machine and the order. Nothing is
        compressed, because what zlib makes of a text depends on its version.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for task, name in GLUE_FILES.items():
            if task in tables:
                entry = zipfile.ZipInfo(name, _TIME)
                entry.create_system, entry.external_attr = _UNIX, _READABLE
                archive.writestr(entry, tables[task])
    return stream.getvalue()


def squad_files(task: TaskInfo, result: Mapping[str, Any]) -> dict[str, str]:
    """Writes the files of SQuAD's script.

    Args:
        task: a task of `SQUAD_FOLDERS`.
        result: predictions on the development set, as `benchmark.evaluation.score.to_result` gives them.

    Returns:
        File name -> JSON text: `predictions.json`, and for v2.0 `na_prob.json`, the logistic function of the null score
        minus that of the best answer, rounded to six decimals; above 0.5 the prediction is no answer.

    Raises:
        DataError: there are more or fewer predictions than official questions, or the result is older than `null_odds`.
    """
    predictions, official = result["predictions"], task.split_sizes["validation"]
    if len(predictions) != official:
        raise DataError(
            f"{task.name}: {len(predictions):,} predicted questions; the official development set has {official:,}"
        )
    files = {"predictions.json": predictions}
    if task.has_no_answer_option:
        if "null_odds" not in result:
            raise DataError(
                f"{task.name}: its predictions were made by an older version, which kept no null_odds; remove them and"
                " call the run again"
            )
        files["na_prob.json"] = {name: _probability(odds) for name, odds in result["null_odds"].items()}
    return {name: json.dumps(values, indent=1, sort_keys=True) + "\n" for name, values in files.items()}


def _probability(odds: float | None) -> float:
    """Computes the logistic function; 1 where there was no answer to choose."""
    if odds is None:
        return 1.0
    return round(1.0 / (1.0 + math.exp(-odds)) if odds > 0 else math.exp(odds) / (1.0 + math.exp(odds)), 6)


def missing_glue(tables: Mapping[str, str]) -> list[str]:
    """Lists the tasks without a table, each with its file and its official number of rows."""
    return [
        f"{task} ({name}, {TASKS[task].split_sizes['test']:,} rows)"
        for task, name in GLUE_FILES.items()
        if task not in tables
    ]
