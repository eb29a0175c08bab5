"""Sources of examples: official files, TensorFlow Datasets, Hugging Face folders or own files; one reader each.

Every source gives the same examples in the same order, apart from differences that docs/data.md lists. The `source` of
a request chooses one for the tasks of the catalogue; the microworld writes official files, so `files` reads it. Own
tasks bring their files along, whatever the source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from tasks.sources.texts import HubCorpus, find_corpus

if TYPE_CHECKING:
    from tasks.catalogue import TaskInfo
    from tasks.files.bad_rows import OnBadRow, Row
    from tasks.system.errors import DataError


class Source(Protocol):
    """The functions that the module of a source has; `root` is the data root."""

    def task_files(self, info: TaskInfo, root: Path, split: str, /) -> tuple[Path, ...]:
        """Lists the files that decide the content of a split; none if it is missing.

        Raises:
            DataError: part of the split is missing.
        """

    def missing_split(self, info: TaskInfo, root: Path, split: str, /) -> DataError:
        """Makes the error for a missing split: the path that was tried, its expected content, its source."""

    def read_examples(self, info: TaskInfo, root: Path, split: str, on_bad_row: OnBadRow, /) -> Iterator[Row]:
        """Reads a split as `tasks.files.readers.read_examples` does.

        A hub's copy with a bad row is refused, so `on_bad_row` has no effect there. An error comes with the first
        example.

        Raises:
            DataError: the split is missing or cannot be used.
        """


# Only the chosen source's module is imported: pyarrow costs a noticeable part of a second.
def _official() -> Source:
    from tasks.sources import official

    return official


def _tfds() -> Source:
    from tasks.sources import tfds

    return tfds


def _hugging_face() -> Source:
    from tasks.sources import hugging_face

    return hugging_face


def _own() -> Source:
    from tasks.sources import own

    return own


SOURCES: Mapping[str, Callable[[], Source]] = MappingProxyType(
    {"microworld": _official, "files": _official, "tfds": _tfds, "hf": _hugging_face}
)


def _source(source: str, info: TaskInfo) -> Source:
    """Finds the source with this name; own tasks have theirs."""
    return _own() if info.own is not None else SOURCES[source]()


def task_files(source: str, info: TaskInfo, root: Path, split: str) -> tuple[Path, ...]:
    """Calls `Source.task_files` of the source with this name."""
    return _source(source, info).task_files(info, root, split)


def require_task_files(source: str, info: TaskInfo, root: Path, split: str) -> tuple[Path, ...]:
    """Calls `task_files`, and raises `Source.missing_split` where there are none."""
    if files := task_files(source, info, root, split):
        return files
    raise _source(source, info).missing_split(info, root, split)


def read_examples(source: str, info: TaskInfo, root: Path, split: str, on_bad_row: OnBadRow = "error") -> Iterator[Row]:
    """Calls `Source.read_examples` of the source with this name."""
    return _source(source, info).read_examples(info, root, split, on_bad_row)


def unprepared(source: str, tasks: Sequence[TaskInfo], root: Path, texts: Sequence[str]) -> list[str]:
    """Lists the data sets that TensorFlow Datasets has to download and prepare for a request.

    Args:
        source: a key of `SOURCES`.
        tasks: the tasks of the request.
        root: the data root.
        texts: the entries of `pretrain_corpora` and `pretrain_validation`.

    Returns:
        TFDS names, each once, in the order in which they are needed.
    """
    from tasks.sources import conventions, tfds

    corpora = [find_corpus(root, entry) for entry in texts]
    names = [corpus.name for corpus in corpora if isinstance(corpus, HubCorpus) and corpus.kind == "tfds"]
    if source == "tfds":
        names += [conventions.hub_task(info).tfds for info in tasks if info.own is None]
    return [name for name in dict.fromkeys(names) if tfds.folder(root, name) is None]
