"""The reader of data sets of TensorFlow Datasets below a data directory, through `seqio.TfdsDataSource`.

Finding files needs only the folders of TFDS (`glue/cola/2.0.0/glue-train.tfrecord-00000-of-00001`),
so that a run which only reuses arrays never imports TensorFlow. Reading and preparing import it when they are called.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from tasks.sources import conventions, shards
from tasks.system.errors import DataError

if TYPE_CHECKING:
    from tasks.catalogue import TaskInfo
    from tasks.files.bad_rows import OnBadRow, Row

_NAME = re.compile(r"[a-z][a-z0-9_]*(/[\w.+-]+)*(:\d+\.\d+\.\d+)?")
_INFO_FILE = "dataset_info.json"
_SECONDS_TO_ANSWER = 10
# They decide the decoding of the records, so they belong to the content.
_DESCRIPTION_FILES = (_INFO_FILE, "features.json")


def folder(root: Path, name: str) -> Path | None:
    """Finds a prepared data set.

    Args:
        root: the TFDS data directory.
        name: `data_set/config:version`; without a version, the latest prepared one.

    Returns:
        Its folder, or None.

    Raises:
        DataError: if `name` is no name of a TFDS data set.
    """
    if not _NAME.fullmatch(name):
        raise DataError(f"'{name}' names no TFDS data set; expected a form such as wikipedia/20230601.en:1.0.0")
    stem, _, version = name.partition(":")
    found = [path.parent for path in (root / stem).glob(f"{version or '*.*.*'}/{_INFO_FILE}")]
    numbered = [path for path in found if re.fullmatch(r"\d+\.\d+\.\d+", path.name)]
    return max(numbered, key=lambda path: tuple(map(int, path.name.split("."))), default=None)


def split_files(root: Path, name: str, split: str) -> tuple[Path, ...]:
    """Lists the files that decide the content of a split: its records and their description.

    Args:
        root: the TFDS data directory.
        name: `data_set/config:version`.
        split: the split's name in TFDS.

    Returns:
        The files; none if the data set or the split is missing.

    Raises:
        DataError: if a part of the split is missing.
    """
    place = folder(root, name)
    if place is None:
        return ()
    records = shards.complete(place.glob(f"{re.split('[/:]', name)[0]}-{split}.*-of-*"))
    if not records:
        return ()
    return (*records, *(place / file for file in _DESCRIPTION_FILES if (place / file).is_file()))


def missing(root: Path, name: str, split: str, content: str, reason: str = "") -> DataError:
    """Makes the error for a missing split.

    Args:
        root: the TFDS data directory.
        name: `data_set/config:version`.
        split: the split's name in TFDS.
        content: the expected content of the split.
        reason: the failure of preparing it, in brackets.

    Returns:
        The error, with the expected content and its source.
    """
    stem, _, version = name.partition(":")
    return DataError(
        f"{root / stem / (version or 'VERSION')}/{stem.split('/')[0]}-{split}.* is missing: it should hold {content},"
        f" prepared by TFDS{reason}; where there is a network, run: tfds build {name} --data_dir={root}"
    )


def task_files(info: TaskInfo, root: Path, split: str) -> tuple[Path, ...]:
    """Lists the files that decide the content of a split of a task, as `split_files` does."""
    task = conventions.hub_task(info)
    return split_files(root, task.tfds, task.split(split))


def missing_split(info: TaskInfo, root: Path, split: str) -> DataError:
    """Makes the error for a split of a task, as `missing` does."""
    task = conventions.hub_task(info)
    return missing(root, task.tfds, task.split(split), f"the {split} split of {info.title}")


def prepare(root: Path, name: str) -> None:
    """Downloads and prepares a data set, as TFDS does it.

    Args:
        root: the TFDS data directory.
        name: `data_set/config:version`, or without a version for the one that TFDS prepares.

    Raises:
        DataError: if that fails, for example without a network.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=str(root))
        _require_network(builder.url_infos)
        builder.download_and_prepare()
    # TFDS fails in as many ways as there are data sets: no network, no Apache Beam, a moved file, a full disk.
    except Exception as error:
        raise missing(root, name, "*", f"the data set {name}", f" (tried now: {_first_line(error)})") from error


def _require_network(urls: Iterable[str]) -> None:
    """Fails at once where no server of a data set answers; TFDS itself would try again for minutes."""
    import requests

    failure = None
    for server in sorted({"{0.scheme}://{0.netloc}".format(urlsplit(url)) for url in urls}):
        try:
            requests.head(server, timeout=_SECONDS_TO_ANSWER)
            return
        except requests.RequestException as error:
            failure = error
    if failure:
        raise failure


def _first_line(error: BaseException) -> str:
    """Shortens a failure to the first line of its root cause: TFDS wraps errors in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:200] if text else ''}"


def read_examples(info: TaskInfo, root: Path, split: str, on_bad_row: OnBadRow = "error") -> Iterator[Row]:
    """Reads one split of a task.

    Args:
        info: the task.
        root: the TFDS data directory.
        split: `train`, `validation` or `test`.
        on_bad_row: has no effect; a copy with a bad row is refused.

    Yields:
        Examples as `tasks.files.readers.read_examples` yields them. TFDS stores examples in another order: GLUE is
        sorted by `idx` to the order of the official file; SQuAD has no such number in TFDS and is sorted by `id`.

    Raises:
        DataError: if the split is missing or cannot be used.
    """
    del on_bad_row
    task = conventions.hub_task(info)
    name = task.split(split)
    if not split_files(root, task.tfds, name):
        raise missing_split(info, root, split)
    place = f"{folder(root, task.tfds)}: {name}"
    rows = list(read_rows(root, task.tfds, name))
    key = "id" if info.kind == "span" else "idx"
    for column in (key, *task.columns()):
        if rows and column not in rows[0]:
            raise DataError(f"{place}: no feature '{column}'; the features are {', '.join(rows[0])}")
    rows.sort(key=lambda row: row[key])
    yield from conventions.examples(info, split, rows, _class_names(root, task.tfds), place)


def read_rows(root: Path, name: str, split: str) -> Iterator[Row]:
    """Reads a split in the order in which TFDS stores it.

    Args:
        root: the TFDS data directory.
        name: `data_set/config:version` of a prepared data set.
        split: the split's name in TFDS.

    Yields:
        Feature -> plain Python value.

    Raises:
        DataError: if the records are damaged.
    """
    place = folder(root, name)
    if place is None:
        raise missing(root, name, split, f"the split {split}")
    import seqio
    import tensorflow as tf

    versioned = f"{name.partition(':')[0]}:{place.name}"
    source = seqio.TfdsDataSource(versioned, str(root), splits=[split], read_only=True)
    try:
        for row in source.get_dataset(split, shuffle=False).prefetch(tf.data.AUTOTUNE).as_numpy_iterator():
            yield {feature: _plain(value) for feature, value in row.items()}
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        raise DataError(f"{place}: {split}: damaged records ({_first_line(error)}); prepare it again") from error


def _plain(value: Any) -> Any:
    """Converts values of TensorFlow to text, numbers, lists and dictionaries."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return [_plain(part) for part in value.tolist()]
    return value.item() if isinstance(value, np.generic) else value


def _class_names(root: Path, name: str) -> list[str] | None:
    """Reads the names of the label ids from the prepared data set."""
    place = folder(root, name)
    path = place / "label.labels.txt" if place else None
    if path is None or not path.is_file():
        return None
    return path.read_text(encoding="utf-8").split()
