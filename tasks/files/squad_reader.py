"""The parser of the JSON of SQuAD v1.1 and v2.0."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.files.bad_rows import BadRow, Row
from tasks.files.text_files import not_utf8
from tasks.system.compression import archive_errors, open_binary
from tasks.system.errors import DataError, shown


class _BadRowError(DataError):
    """A mistake in a part of the file; the caller decides how many rows it costs."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.row = BadRow(place, reason)


def squad_rows(path: Path) -> Iterator[Row | BadRow]:
    """Parses one file.

    Args:
        path: plain or compressed file.

    Yields:
        Per question `id`, `title`, `question`, `context`, `answers` (list of `{"text", "answer_start"}`) and
        `is_impossible`, or a `BadRow` for a question, a paragraph or an article.

    Raises:
        DataError: if the file is no JSON, or not SQuAD's at the top.
    """
    seen: set[str] = set()
    for place, article in enumerate(_articles(path)):
        where = f"data[{place}]"
        try:
            title = _member(article, "title", str, where) if "title" in _object(article, where) else ""
            paragraphs = _member(article, "paragraphs", list, where)
        except _BadRowError as error:
            yield error.row
            continue
        for number, paragraph in enumerate(paragraphs):
            yield from _paragraph(paragraph, title, f"{where}.paragraphs[{number}]", seen)


def _articles(path: Path) -> list[Any]:
    """Reads the file down to the list of its articles."""
    try:
        with archive_errors(path), open_binary(path) as file:
            text = file.read().decode("utf-8-sig")
        content = json.loads(text)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: {not_utf8(error)}") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: line {error.lineno}: not JSON ({error.msg}); SQuAD's JSON is expected") from error
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        # Numbers of thousands of digits, brackets nested thousands deep.
        raise DataError(f"{path}: not JSON that SQuAD could be ({shown(error)})") from error
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise DataError(f"{path}: not SQuAD: an object with the list 'data' is expected at the top")
    return content["data"]


def _paragraph(paragraph: Any, title: str, place: str, seen: set[str]) -> Iterator[Row | BadRow]:
    """Parses the questions of one paragraph; `seen` holds the ids of the file so far."""
    try:
        context = _member(paragraph, "context", str, place)
        questions = _member(paragraph, "qas", list, place)
    except _BadRowError as error:
        yield error.row
        return
    for number, question in enumerate(questions):
        here = f"{place}.qas[{number}]"
        try:
            name = _member(question, "id", str, here)
            if name in seen:
                raise _BadRowError(here, f"the id '{shown(name)}' is another question's; each needs its own")
            impossible = _member(question, "is_impossible", bool, here) if "is_impossible" in question else False
            row = {
                "id": name,
                "title": title,
                "question": _member(question, "question", str, here),
                "context": context,
                "answers": _answers(question, context, here, impossible),
                "is_impossible": impossible,
            }
        except _BadRowError as error:
            yield error.row
            continue
        seen.add(name)
        yield row


def _answers(question: Row, context: str, place: str, impossible: bool) -> list[Row]:
    """Reads and checks the reference answers of one question."""
    given = _member(question, "answers", list, place) if "answers" in question or not impossible else []
    name = f"(id {shown(question['id'])})"
    if bool(given) == impossible:
        wanted = "none where is_impossible is true" if impossible else "at least one"
        raise _BadRowError(f"{place}.answers {name}", f"{len(given)} answers; {wanted} is expected")
    answers = []
    for number, answer in enumerate(given):
        where = f"{place}.answers[{number}]"
        text = _member(answer, "text", str, where)
        start = _member(answer, "answer_start", int, where)
        found = context[start : start + len(text)] if start >= 0 else ""
        if not text or found != text:
            raise _BadRowError(
                f"{where} {name}",
                f"answer_start {shown(start)} points at '{shown(found)}', not at the answer '{shown(text)}'",
            )
        answers.append({"text": text, "answer_start": start})
    return answers


def _object(value: Any, place: str) -> Row:
    """Checks that a value is a JSON object."""
    if not isinstance(value, dict):
        raise _BadRowError(place, f"not SQuAD: {type(value).__name__}, an object is expected")
    return value


def _member(parent: Any, key: str, kind: type, place: str) -> Any:
    """Takes a member of a JSON object and checks its type."""
    value = _object(parent, place).get(key)
    # For Python, true and false are integers too.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _BadRowError(f"{place}.{key}", f"not SQuAD: {type(value).__name__}, {kind.__name__} is expected")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _BadRowError(f"{place}.{key}", "half of a surrogate pair, which is no character") from None
    return value
