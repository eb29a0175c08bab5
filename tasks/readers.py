"""Reads the official files of the tasks: GLUE's tab-separated tables and SQuAD's JSON.

Files lie below a root in the layout that GLUE's download script and the SQuAD site give (`glue/SST-2/train.tsv`,
`squad/dev-v1.1.json`), plain or compressed with gzip or xz. Every error is a `DataError` that names file and line.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import math
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from tasks.catalogue import TaskInfo, text_field_names
from tasks.errors import DataError

COMPRESSIONS = ("", ".gz", ".xz")
_HOW_TO_GET = {
    "glue": "get it from https://gluebenchmark.com/tasks and unpack it there",
    "squad": "get it from https://rajpurkar.github.io/SQuAD-explorer/ and put it there",
}


def sha256_file(path: Path) -> str:
    """Digests the bytes of a file as they lie on disk (compressed files are not unpacked).

    Args:
      path: the file.

    Returns:
      64 hexadecimal digits.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_binary(path: Path) -> IO[bytes]:
    """Opens a plain, gzip or xz file for reading its content.

    Args:
      path: the file; its ending says how it is compressed.

    Returns:
      a binary stream of the uncompressed content.
    """
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    if path.suffix == ".xz":
        return cast("IO[bytes]", lzma.open(path, "rb"))
    return path.open("rb")


def read_lines(path: Path) -> Iterator[str]:
    r"""Reads a UTF-8 text file line by line.

    Lines end at `\n` only: the texts hold characters such as U+2028 that `str.splitlines` would break at. A byte-order
    mark is dropped, and so is the carriage return of a Windows line ending.

    Args:
      path: plain, `.gz` or `.xz` file.

    Yields:
      the lines without their endings.

    Raises:
      DataError: on bytes that are not UTF-8, or a damaged archive.
    """
    number = 0
    try:
        with open_binary(path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="\n")
            for line in text:
                number += 1
                yield line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise DataError(
            f"{path}: after line {number}: byte 0x{byte:02x} is not UTF-8; the file must be UTF-8 text"
        ) from error
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError) as error:
        raise DataError(f"{path}: after line {number}: damaged or wrongly named archive ({error})") from error


def task_file(info: TaskInfo, directory: Path, split: str) -> Path | None:
    """Finds the file of a split.

    Args:
      info: the task.
      directory: the data root.
      split: `train`, `validation` or `test`.

    Returns:
      the first that exists of the plain, `.gz` and `.xz` file, or None.
    """
    stem = info.split_stems.get(split)
    if stem is None:
        return None
    for compression in COMPRESSIONS:
        path = Path(directory) / info.directory / f"{stem}{info.extension}{compression}"
        if path.is_file():
            return path
    return None


def require_task_file(info: TaskInfo, directory: Path, split: str) -> Path:
    """Finds the file of a split that must be there.

    Args:
      info: the task.
      directory: the data root.
      split: `train`, `validation` or `test`.

    Returns:
      its path.

    Raises:
      DataError: naming the path, what it should hold and where to get it.
    """
    if split not in info.split_stems:
        raise DataError(f"task {info.name} has no split '{split}'; it has {', '.join(info.split_stems)}")
    path = task_file(info, directory, split)
    if path is None:
        wanted = Path(directory) / info.directory / f"{info.split_stems[split]}{info.extension}"
        rows = info.split_sizes.get(split)
        how = _HOW_TO_GET[info.directory.split("/")[0]]
        raise DataError(
            f"{wanted} (or .gz, .xz) is missing: it should hold the {split} split of {info.title}"
            f" ({rows:,} examples); {how}"
        )
    return path


def read_examples(info: TaskInfo, directory: Path | str, split: str) -> Iterator[dict[str, Any]]:
    """Reads one split of a task.

    Args:
      info: the task.
      directory: the data root.
      split: `train`, `validation` or `test`.

    Yields:
      GLUE: `idx` (position in the file), the text fields (`tasks.catalogue.text_field_names`) and `label`: the
      position in `label_names`, a float for regression, -1 (-1.0) in files without labels. SQuAD: `idx`, `id`,
      `title`, `question`, `context`, `answers` (list of `{"text", "answer_start"}`) and `is_impossible`.

    Raises:
      DataError: if the file is missing, empty or not what its name says.
    """
    path = require_task_file(info, Path(directory), split)
    examples = _read_squad(path) if info.kind == "span" else _read_table(info, path, split)
    empty = True
    for example in examples:
        empty = False
        yield example
    if empty:
        raise DataError(f"{path}: no examples; {info.split_sizes.get(split, 0):,} are expected")


def _read_table(info: TaskInfo, path: Path, split: str) -> Iterator[dict[str, Any]]:
    """Reads one tab-separated file; quotes are plain characters."""
    lines = enumerate(read_lines(path), start=1)
    columns = info.headerless_columns.get(split)
    if columns is None:
        first = next(lines, None)
        if first is None:
            return
        columns = tuple(first[1].split("\t"))
    # The official test files call the columns of some tasks differently; the text columns keep their names.
    for column in info.text_columns:
        if column not in columns:
            raise DataError(f"{path}: line 1: no column '{column}'; the columns are {', '.join(columns)}")
    if info.label_column not in columns and split != "test":
        raise DataError(f"{path}: line 1: no column '{info.label_column}'; the columns are {', '.join(columns)}")
    label_position = columns.index(info.label_column) if info.label_column in columns else None
    texts = [
        (name, columns.index(column)) for name, column in zip(text_field_names(info), info.text_columns, strict=True)
    ]
    index = 0
    for number, line in lines:
        cells = line.split("\t")
        if len(cells) != len(columns):
            if info.skips_broken_rows:
                continue
            raise DataError(
                f"{path}: line {number}: {len(cells)} columns instead of {len(columns)} ({', '.join(columns)})"
            )
        label = _parse_label(info, None if label_position is None else cells[label_position], path, number)
        yield {"idx": index, **{name: cells[position] for name, position in texts}, "label": label}
        index += 1


def _parse_label(info: TaskInfo, cell: str | None, path: Path, number: int) -> int | float:
    """Turns a label cell into an id or a score; `cell` is None where the file has no labels."""
    if info.kind == "regression":
        if cell is None:
            return -1.0
        low, high = info.label_range or (-math.inf, math.inf)
        try:
            score = float(cell)
        except ValueError:
            score = math.nan
        if not low <= score <= high:
            raise DataError(
                f"{path}: line {number}: {info.label_column} is '{cell}'; a number from {low:g} to {high:g} is expected"
            )
        return score
    if cell is None:
        return -1
    if cell not in info.label_names:
        raise DataError(
            f"{path}: line {number}: {info.label_column} is '{cell}'; expected one of {', '.join(info.label_names)}"
        )
    return info.label_names.index(cell)


def _read_squad(path: Path) -> Iterator[dict[str, Any]]:
    """Reads a SQuAD v1.1 or v2.0 file."""
    try:
        with open_binary(path) as file:
            content = json.loads(file.read().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8; the file must be UTF-8 JSON") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: line {error.lineno}: not JSON ({error.msg})") from error
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError) as error:
        raise DataError(f"{path}: damaged or wrongly named archive ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise DataError(f"{path}: not SQuAD: an object with the list 'data' is expected at the top")
    index = 0
    for article_number, article in enumerate(content["data"]):
        place = f"data[{article_number}]"
        for paragraph_number, paragraph in enumerate(_member(article, "paragraphs", list, path, place)):
            where = f"{place}.paragraphs[{paragraph_number}]"
            context = _member(paragraph, "context", str, path, where)
            for question_number, question in enumerate(_member(paragraph, "qas", list, path, where)):
                here = f"{where}.qas[{question_number}]"
                yield {
                    "idx": index,
                    "id": _member(question, "id", str, path, here),
                    "title": article.get("title", ""),
                    "question": _member(question, "question", str, path, here),
                    "context": context,
                    "answers": _answers(question, context, path, here),
                    "is_impossible": bool(question.get("is_impossible", False)),
                }
                index += 1


def _answers(question: dict[str, Any], context: str, path: Path, place: str) -> list[dict[str, Any]]:
    """Reads and checks the reference answers of one question."""
    if question.get("is_impossible", False):
        return []
    answers = []
    for number, answer in enumerate(question.get("answers", [])):
        where = f"{place}.answers[{number}]"
        text = _member(answer, "text", str, path, where)
        start = _member(answer, "answer_start", int, path, where)
        found = context[start : start + len(text)] if start >= 0 else ""
        if not text or found != text:
            raise DataError(
                f"{path}: {where} (id {question.get('id')}): answer_start {start} points at '{found}', not at the"
                f" answer '{text}'"
            )
        answers.append({"text": text, "answer_start": start})
    return answers


def _member(parent: Any, key: str, kind: type, path: Path, place: str) -> Any:
    """Takes a member of a JSON object and checks its type."""
    value = parent.get(key) if isinstance(parent, dict) else None
    if not isinstance(value, kind):
        raise DataError(f"{path}: not SQuAD: {place}.{key} is {type(value).__name__}, {kind.__name__} is expected")
    return value
