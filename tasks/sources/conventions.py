"""GLUE and SQuAD in the form of the hubs, and the conversion of their rows to examples.

The hubs are TensorFlow Datasets and the Hugging Face hub. Their GLUE follows the same script, so one `HubTask` in the
catalogue serves both: integer labels with -1 in test splits, `premise` and `hypothesis` in MNLI, both MNLI sets in one
configuration with four splits. Names and label orders are those of `tensorflow_datasets` 4.9.10 (`text/glue.py`,
`datasets/squad`) and of the hub's `nyu-mll/glue`, `rajpurkar/squad` and `rajpurkar/squad_v2`. docs/data.md lists the
differences of official files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.catalogue import TASKS, HubTask, TaskInfo, text_field_names
from tasks.system.errors import DataError

if TYPE_CHECKING:
    from tasks.files.bad_rows import Row


def hub_task(info: TaskInfo) -> HubTask:
    """Looks up a task in the form of the hubs.

    Raises:
        DataError: if the catalogue has none for this task.
    """
    if info.hub is None:
        known = ", ".join(name for name, other in TASKS.items() if other.hub)
        raise DataError(f"task {info.name} can be read from official files only; known here: {known}")
    return info.hub


def examples(
    info: TaskInfo, split: str, rows: Iterable[Mapping[str, Any]], class_names: Sequence[str] | None, place: str
) -> Iterator[Row]:
    """Turns rows of a hub into examples.

    Args:
        info: the task.
        split: `train`, `validation` or `test`; labels of a test split become -1, as in the official files.
        rows: column -> plain Python value, in the order of the official file. A row's position becomes its `idx`: the
            hubs' own numbers count rows of source files, some of which went to another split or were dropped.
        class_names: the names of the label ids in the data set; None where it has none.
        place: the beginning of an error message.

    Yields:
        Examples as `tasks.files.readers.read_examples` yields them.

    Raises:
        DataError: on a value that is no text, no label or no answer of its context.
    """
    task = hub_task(info)
    if info.kind == "span":
        for index, row in enumerate(rows):
            yield _span_example(row, index, f"{place}: row {index}", info.has_no_answer_option)
        return
    ids = _label_ids(info, task, class_names, place)
    fields = list(zip(text_field_names(info), task.texts, strict=True))
    for index, row in enumerate(rows):
        where = f"{place}: row {index}"
        texts = {name: _text(row, column, where) for name, column in fields}
        yield {"idx": index, **texts, "label": _label(info, task, split, row.get("label"), ids, where)}


def _label_ids(info: TaskInfo, task: HubTask, class_names: Sequence[str] | None, place: str) -> list[int]:
    """Maps the ids of a data set to ours, by name where it names them."""
    if class_names is None:
        return list(range(len(task.classes)))
    for known in (task.classes, info.label_names):
        if known and sorted(class_names) == sorted(known):
            return [known.index(name) for name in class_names]
    raise DataError(
        f"{place}: the labels are named {', '.join(class_names)}; expected {', '.join(task.classes) or 'none'}"
    )


def _label(info: TaskInfo, task: HubTask, split: str, value: Any, ids: Sequence[int], place: str) -> int | float:
    if info.kind == "regression":
        if split == "test":
            return -1.0
        low, high = info.label_range or (-np.inf, np.inf)
        if not isinstance(value, float | int) or not low <= value <= high:
            raise DataError(f"{place}: label is {value!r}; a number from {low:g} to {high:g} is expected")
        # The hubs keep 3.8 as a 32-bit float; its shortest decimal form is that of the official file.
        return float(str(np.float32(value)))
    if split == "test":
        return -1
    if type(value) is not int or not 0 <= value < len(ids):
        named = ", ".join(f"{number} ({name})" for number, name in enumerate(task.classes))
        raise DataError(f"{place}: label is {value!r}; expected one of {named}")
    return ids[value]


def _text(row: Mapping[str, Any], column: str, place: str) -> str:
    value = row.get(column)
    if not isinstance(value, str):
        raise DataError(f"{place}: {column} is {value!r}; text is expected")
    return value


def _span_example(row: Mapping[str, Any], index: int, place: str, may_have_none: bool) -> Row:
    texts = {column: _text(row, column, place) for column in ("id", "title", "question", "context")}
    answers = _answers(row.get("answers"), place)
    for answer in answers:
        start, text = answer["answer_start"], answer["text"]
        found = texts["context"][start : start + len(text)] if start >= 0 else ""
        if not text or found != text:
            raise DataError(
                f"{place} (id {texts['id']}): answer_start {start} points at '{found}', not at the answer '{text}'"
            )
    # Hugging Face's SQuAD v2.0 has no column for it: a question without answers is one that has none.
    impossible = bool(row.get("is_impossible", not answers))
    if (impossible or not answers) and not may_have_none:
        raise DataError(f"{place} (id {texts['id']}): no answer; SQuAD v1.1 has at least one for every question")
    return {"idx": index, **texts, "answers": [] if impossible else answers, "is_impossible": impossible}


def _answers(value: Any, place: str) -> list[Row]:
    """Reads answers kept as two lists (the hubs' form) or as a list of pairs (the official one)."""
    try:
        pairs = (
            list(zip(value["text"], value["answer_start"], strict=True))
            if isinstance(value, Mapping)
            else [(answer["text"], answer["answer_start"]) for answer in value]
        )
        return [{"text": str(text), "answer_start": int(start)} for text, start in pairs]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{place}: answers is {value!r:.80}; expected lists 'text' and 'answer_start' of equal length"
        ) from error
