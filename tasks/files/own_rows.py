"""Examples from the rows of own tasks: texts, labels and answers, checked value by value."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasks.catalogue import OwnTask, TaskInfo, text_field_names
from tasks.files.bad_rows import BadRow, Row
from tasks.system.errors import nearest, shown

if TYPE_CHECKING:
    from tasks.files.tables import TableRow

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_MAX_NAMED = 20


class ValueProblemError(ValueError):
    """A value that cannot be used; the message follows the place of its row."""


def parse(info: TaskInfo, row: TableRow, split: str) -> Row | BadRow:
    """Makes an example, without `idx`, of a row of a classification or regression task.

    Returns:
        The text fields (`tasks.catalogue.text_field_names`) and `label`, -1 in the test split; or a `BadRow`.
    """
    try:
        fields = zip(text_field_names(info), info.text_columns, strict=True)
        example: Row = {field: text_value(row.values, column) for field, column in fields}
        if split == "test":
            return {**example, "label": -1.0 if info.kind == "regression" else -1}
        return {**example, "label": _label(info, row.values[info.label_column])}
    except ValueProblemError as problem:
        return BadRow(row.place, str(problem))


def parse_span(own: OwnTask, row: TableRow, number: int, seen: set[str]) -> Row | BadRow:
    """Makes an example, without `idx`, of a row of a span task.

    Args:
        own: the task.
        row: its columns of question, context and answers; `id` and `title` may be missing.
        number: the number of the row in its file, which is its id where it has none.
        seen: the ids of the file so far; that of the row is added.
    """
    try:
        name = str(row.values.get("id", number))
        if name in seen:
            raise ValueProblemError(f"the id '{shown(name)}' is another question's; each needs its own")
        question, context = (text_value(row.values, column) for column in own.text_columns)
        answers = _answers(own.label_column, row.values[own.label_column], context)
        if not answers and not own.unanswerable:
            raise ValueProblemError(f"{own.label_column} has no answer; at least one is expected{_UNANSWERABLE}")
        title = row.values.get("title")
        example = {
            "id": name,
            "title": title if isinstance(title, str) else "",
            "question": question,
            "context": context,
            "answers": answers,
            "is_impossible": not answers,
        }
    except ValueProblemError as problem:
        return BadRow(row.place, str(problem))
    seen.add(name)
    return example


_UNANSWERABLE = ", as TaskConfig.unanswerable is False"


def answerable(own: OwnTask, row: Row | BadRow) -> Row | BadRow:
    """Refuses a question without an answer, from a file in SQuAD's form, where the task has none."""
    if own.unanswerable or isinstance(row, BadRow) or row["answers"]:
        return row
    return BadRow(f"id {shown(row['id'])}", f"no answer; at least one is expected{_UNANSWERABLE}")


def text_value(values: Mapping[str, Any], column: str) -> str:
    """Takes a text.

    Raises:
        ValueProblemError: it is none.
    """
    value = values[column]
    if not isinstance(value, str):
        raise ValueProblemError(f"{column} is {shown(repr(value))}; text is expected")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueProblemError(f"{column} has half of a surrogate pair, which is no character") from None
    return value


def label_name(column: str, value: object) -> str:
    """Names the label of a classification as text, whole numbers and truth values too.

    White space around it is no part of it: it is invisible, and `good` and `good ` would be two labels.

    Raises:
        ValueProblemError: it is empty, or another kind of value.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    name = text_value({column: value}, column).strip() if isinstance(value, str) else ""
    if not name or "\n" in name:
        raise ValueProblemError(f"{column} is {shown(repr(value))}; a label on one line or a whole number is expected")
    return name


def sorted_labels(names: set[str]) -> tuple[str, ...]:
    """Sorts labels: by number where all are whole numbers, else by their characters."""
    numbers = all(re.fullmatch(r"-?[0-9]{1,18}", name) for name in names)
    return tuple(sorted(names, key=lambda name: (int(name) if numbers else 0, name)))


def _label(info: TaskInfo, value: object) -> int | float:
    """Converts a label into its id or its number."""
    column = info.label_column
    if info.kind == "regression":
        return _number(column, value, info.label_range or (-math.inf, math.inf))
    name = label_name(column, value)
    if name not in info.label_names:
        more = f" and {len(info.label_names) - _MAX_NAMED} more" if len(info.label_names) > _MAX_NAMED else ""
        known = ", ".join(info.label_names[:_MAX_NAMED]) + more
        hint = nearest(name, info.label_names)
        raise ValueProblemError(f"{column} is '{shown(name)}'; expected one of {shown(known, 400)}{hint}")
    return info.label_names.index(name)


def _number(column: str, value: Any, limits: tuple[float, float]) -> float:
    """Converts the label of a regression."""
    # float() alone also takes `1_0`, `nan` and the digits of other scripts.
    if isinstance(value, str):
        # White space around it is as invisible as around the label of a classification.
        number = float(value) if _NUMBER.fullmatch(value.strip()) else math.nan
    else:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # Python's whole numbers may be too large for a float.
        number = float(value) if is_number and abs(value) < 2**100 else math.nan
    low, high = limits
    if math.isfinite(number) and low <= number <= high:
        return number
    room = f" from {low:g} to {high:g}" if math.isfinite(low) else ""
    raise ValueProblemError(f"{column} is {shown(repr(value))}; a number{room} is expected")


def _answers(column: str, value: Any, context: str) -> list[Row]:
    """Reads and checks reference answers: two lists or a list of pairs, as JSON text in a table."""
    for answer in (answers := _pairs(column, value)):
        start, text = answer["answer_start"], answer["text"]
        found = context[start : start + len(text)] if start >= 0 else ""
        if not text or found != text:
            raise ValueProblemError(
                f"answer_start {start} points at '{shown(found)}', not at the answer '{shown(text)}'"
            )
    return answers


def _pairs(column: str, value: Any) -> list[Row]:
    """Takes answers apart."""
    try:
        given = json.loads(value) if isinstance(value, str) else value
        if isinstance(given, Mapping):
            texts: Sequence[Any] = given["text"]
            given = [{"text": t, "answer_start": s} for t, s in zip(texts, given["answer_start"], strict=True)]
        answers = [{"text": answer["text"], "answer_start": answer["answer_start"]} for answer in given]
    except (KeyError, TypeError, ValueError, RecursionError):
        answers = [{"text": None, "answer_start": None}]
    if not all(isinstance(answer["text"], str) and type(answer["answer_start"]) is int for answer in answers):
        form = '{"text": [TEXT, ...], "answer_start": [PLACE, ...]}, lists of equal length,'
        raise ValueProblemError(f"{column} is {shown(repr(value))}; {form} is expected")
    return answers
