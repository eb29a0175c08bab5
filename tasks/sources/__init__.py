"""Where examples come from: official files, TensorFlow Datasets or Hugging Face folders; one reader each.

Every source gives the same examples in the same order, apart from what docs/data.md lists. Which one is read is the
`source` of a request; the microworld writes official files, so `files` reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tasks.catalogue import TaskInfo
from tasks.files import layouts, readers
from tasks.files.bad_rows import OnBadRow
from tasks.sources.texts import HubCorpus, find_corpus


def task_files(source: str, info: TaskInfo, root: Path, split: str) -> tuple[Path, ...]:
    """Lists the files that decide the content of one split of a task.

    Args:
      source: `microworld`, `files`, `tfds` or `hf`.
      info: the task.
      root: the data root.
      split: `train`, `validation` or `test`.

    Returns:
      the files; none if the split is not there.

    Raises:
      DataError: if part of the split is missing.
    """
    # Only the chosen source's reader is imported: pyarrow costs a noticeable part of a second.
    if source == "tfds":
        from tasks.sources import tfds

        return tfds.task_files(info, root, split)
    if source == "hf":
        from tasks.sources import hugging_face

        return hugging_face.task_files(info, root, split)
    files = layouts.find(info, root, split)
    return files.paths if files else ()


def require_task_files(source: str, info: TaskInfo, root: Path, split: str) -> tuple[Path, ...]:
    """Lists the files of a split that must be there.

    Args:
      source: `microworld`, `files`, `tfds` or `hf`.
      info: the task.
      root: the data root.
      split: `train`, `validation` or `test`.

    Returns:
      the files.

    Raises:
      DataError: naming the path that was looked at, what it should hold and how to get it.
    """
    if files := task_files(source, info, root, split):
        return files
    if source == "tfds":
        from tasks.sources import tfds

        raise tfds.missing_split(info, root, split)
    if source == "hf":
        from tasks.sources import hugging_face

        raise hugging_face.missing_split(info, root, split)
    return layouts.require(info, root, split).paths


def read_examples(
    source: str, info: TaskInfo, root: Path, split: str, on_bad_row: OnBadRow = "error"
) -> Iterator[dict[str, Any]]:
    """Reads one split of a task from a source.

    Args:
      source: `microworld`, `files`, `tfds` or `hf`.
      info: the task.
      root: the data root.
      split: `train`, `validation` or `test`.
      on_bad_row: as for `tasks.files.readers.read_examples`; the rows of hubs are all good, or the copy is refused.

    Returns:
      examples as `tasks.files.readers.read_examples` describes them. An error comes with the first example.

    Raises:
      DataError: if the split is missing or is not what it should be.
    """
    if source == "tfds":
        from tasks.sources import tfds

        return tfds.read_examples(info, root, split)
    if source == "hf":
        from tasks.sources import hugging_face

        return hugging_face.read_examples(info, root, split)
    return readers.read_examples(info, root, split, on_bad_row)


def unprepared(source: str, tasks: Sequence[TaskInfo], root: Path, texts: Sequence[str]) -> list[str]:
    """Lists what TensorFlow Datasets would have to download and prepare for a request.

    Args:
      source: `microworld`, `files`, `tfds` or `hf`.
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
        names += [conventions.hub_task(info).tfds for info in tasks]
    return [name for name in dict.fromkeys(names) if tfds.folder(root, name) is None]
