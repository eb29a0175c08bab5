"""The reader of folders of the Hugging Face library `datasets`, with pyarrow alone.

Two layouts are known: the folders that `save_to_disk` writes (`train/data-00000-of-00001.arrow` next to `state.json`)
and a copy of a repository of the hub (`train-00000-of-00001.parquet`, in the folder itself or in the subfolder that the
hub uses).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.files.tables import require_columns
from tasks.sources import conventions, shards
from tasks.system.errors import DataError

if TYPE_CHECKING:
    from tasks.catalogue import TaskInfo
    from tasks.files.bad_rows import OnBadRow, Row

# Where a repository of the hub keeps its parquet files; SQuAD's two name the folder after the configuration.
_SUBFOLDERS = ("", "data", "plain_text", "squad_v2")
_STATE_FILE = "state.json"
_INFO_FILE = "dataset_info.json"
_ROWS_PER_BATCH = 1024


def split_files(folder: Path, split: str) -> tuple[Path, ...]:
    """Finds the data files of a split.

    Returns:
        `.arrow` or `.parquet` files in the order in which they are read; none if there is no such split.

    Raises:
        DataError: if a part of the split is missing, or the saved state cannot be read.
    """
    # A single `Dataset`, saved without a dictionary of splits, counts as the training split.
    for saved in (folder / split, folder) if split == "train" else (folder / split,):
        if (saved / _STATE_FILE).is_file():
            return _saved_files(saved)
    for name in _SUBFOLDERS:
        base = folder / name
        if files := [*base.glob(f"{split}-*-of-*.parquet"), *base.glob(f"{split}.parquet")]:
            return shards.complete(files)
    return ()


def digested_files(folder: Path, split: str) -> tuple[Path, ...]:
    """Lists the files that decide the content of a split: its data files and the `dataset_info.json` next to them.

    Returns:
        The files; none if there is no such split.
    """
    files = split_files(folder, split)
    infos = sorted({path.parent / _INFO_FILE for path in files})
    return (*files, *(path for path in infos if path.is_file()))


def _saved_files(folder: Path) -> tuple[Path, ...]:
    """Reads the order of the files from `state.json`."""
    path = folder / _STATE_FILE
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        files = tuple(folder / entry["filename"] for entry in state["_data_files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not the state of a saved data set ('_data_files' is expected)") from error
    if state.get("_indices_data_files"):
        raise DataError(f"{path}: saved with a selection of rows; call flatten_indices() before save_to_disk()")
    for file in files:
        if not file.is_file():
            raise DataError(f"{file} is missing, though {path} names it; copy the folder again")
    return files


def missing(folder: Path, split: str, content: str) -> DataError:
    """Makes the error for a missing split.

    Args:
        folder: the folder that was searched.
        split: the split's name in it.
        content: the expected content of the split.

    Returns:
        The error, with the expected content and its source.
    """
    return DataError(
        f"{folder}/{split}-00000-of-*.parquet (or {folder}/{split}/{_STATE_FILE}) is missing: it should hold {content};"
        f" copy the data set's repository from https://huggingface.co/datasets into {folder}, or write it there with"
        " datasets' save_to_disk()"
    )


def task_files(info: TaskInfo, root: Path, split: str) -> tuple[Path, ...]:
    """Lists the files that decide the content of a split of a task, as `digested_files` does."""
    task = conventions.hub_task(info)
    return digested_files(root / task.folder, task.split(split))


def missing_split(info: TaskInfo, root: Path, split: str) -> DataError:
    """Makes the error for a split of a task, as `missing` does."""
    task = conventions.hub_task(info)
    return missing(root / task.folder, task.split(split), f"the {split} split of {info.title}")


def read_examples(info: TaskInfo, root: Path, split: str, on_bad_row: OnBadRow = "error") -> Iterator[Row]:
    """Reads one split of a task.

    Args:
        info: the task.
        root: the folder that holds `glue/`, `squad/` and `squad_v2/`.
        split: `train`, `validation` or `test`.
        on_bad_row: has no effect; a copy with a bad row is refused.

    Yields:
        Examples as `tasks.files.readers.read_examples` yields them, in the order of the official file.

    Raises:
        DataError: if the split is missing or cannot be used.
    """
    del on_bad_row
    task = conventions.hub_task(info)
    folder, name = root / task.folder, task.split(split)
    files = split_files(folder, name)
    if not files:
        raise missing_split(info, root, split)
    schema = _schema(files[0])
    wanted = ["idx", "label", "is_impossible", *task.columns()]
    _require_columns(schema, task.columns(), files[0])
    columns = [column for column in wanted if column in schema.names]
    yield from conventions.examples(
        info, split, _rows(files, columns), _class_names(schema, files[0]), f"{folder}: {name}"
    )


def read_texts(folder: Path, split: str, content: str) -> Iterator[str]:
    """Reads the column `text` of a split, a part at a time.

    Args:
        folder: the folder of a data set.
        split: the split's name in it.
        content: the expected content of the split, for the error message.

    Yields:
        One text per row.

    Raises:
        DataError: if the split is missing, a file is damaged, or it has no such column.
    """
    files = split_files(folder, split)
    if not files:
        raise missing(folder, split, content)
    for path in files:
        _require_columns(_schema(path), ("text",), path)
        for batch in _batches(path, ["text"]):
            for text in batch.column(0).to_pylist():
                if not isinstance(text, str):
                    raise DataError(f"{path}: a value of 'text' is {text!r}; text is expected")
                yield text


def parquet_rows(path: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[Row]:
    """Reads some columns of a parquet file, in the order of its rows.

    Args:
        path: the file.
        columns: the columns that must be there.
        optional: further columns, which may be missing.

    Raises:
        DataError: if the file is missing or damaged, or lacks a column.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing: it should hold rows with the columns {', '.join(columns)}")
    names = _schema(path).names
    require_columns(path, names, columns)
    for batch in _batches(path, [*columns, *(name for name in optional if name in names)]):
        yield from batch.to_pylist()


def _rows(files: Sequence[Path], columns: list[str]) -> Iterator[Row]:
    """Reads whole rows, by `idx` where there is one: a data set may have been shuffled before it was saved."""
    batches = [batch for path in files for batch in _batches(path, columns)]
    if not batches:
        return
    try:
        table = pa.Table.from_batches(batches)
    except pa.ArrowInvalid as error:
        raise DataError(f"{files[0].parent}: the parts of one split have different columns ({error})") from error
    if "idx" in columns:
        table = table.sort_by("idx")
    for batch in table.to_batches(max_chunksize=_ROWS_PER_BATCH):
        yield from batch.to_pylist()


def _schema(path: Path) -> pa.Schema:
    try:
        if path.suffix == ".parquet":
            return pq.read_schema(path)
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
            return reader.schema
    except pa.ArrowException as error:
        raise _damaged(path, error) from error


def _batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Reads some columns of a file in parts."""
    try:
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as parquet:
                yield from parquet.iter_batches(_ROWS_PER_BATCH, columns=columns)
        else:
            with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
                for batch in reader:
                    yield batch.select(columns)
    # A cut-off file is an OSError for the one format and an ArrowException for the other.
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: damaged, or no {path.suffix[1:]} file ({error})")


def _require_columns(schema: pa.Schema, columns: Sequence[str], path: Path) -> None:
    for column in columns:
        if column not in schema.names:
            raise DataError(f"{path}: no column '{column}'; the columns are {', '.join(schema.names)}")


def _class_names(schema: pa.Schema, path: Path) -> list[str] | None:
    """Reads the names of the label ids from the note that `datasets` leaves in every file."""
    note = (schema.metadata or {}).get(b"huggingface")
    if note is None:
        return None
    try:
        label = json.loads(note)["info"]["features"].get("label") or {}
        return list(label["names"]) if "names" in label else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: the note 'huggingface' of the file names no features") from error
