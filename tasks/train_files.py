"""Training files in place of the official ones, such as a part of a large official file.

A part may be all that is at hand, or all that a budget allows. What was trained on one is another task than the one
trained on the official file, so that the file stands in the record and keeps the score in a column of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import TYPE_CHECKING

from tasks.system.compression import COMPRESSIONS
from tasks.system.errors import DataError

if TYPE_CHECKING:
    from tasks.task_info import TaskInfo


def plain_name(file: str) -> str:
    """Returns the name of a file without the ending of a compression."""
    return next((file.removesuffix(ending) for ending in COMPRESSIONS if file.endswith(ending)), file)


def accepted_instead(info: TaskInfo, file: str, official: Collection[str]) -> str:
    """Says in words which training file a task of the catalogue may have where it may not have this one.

    Args:
        info: the task.
        file: the name of a file in its folder, with or without the ending of a compression.
        official: names of official files in this folder, without endings.

    Returns:
        What is accepted instead, "" where the file is.
    """
    if "train" not in info.split_stems:
        return f"no file for {info.title}, which the model of {info.trained_on} predicts; name that one's"
    plain = plain_name(file)
    stem = plain.removesuffix(info.extension)
    if stem in ("", plain):
        return f"a name that ends in {info.extension} (or, compressed, in {', '.join(COMPRESSIONS)})"
    return "no name of an official file, which is read without an entry" if stem in official else ""


def with_train_file(info: TaskInfo, file: str, official: Collection[str]) -> TaskInfo:
    """Gives a task another training file.

    Args:
        info: as for `accepted_instead`.
        file: likewise.
        official: likewise.

    Returns:
        The entry whose training split is that file alone; the official number of examples stays.

    Raises:
        DataError: the task may not have this file.
    """
    if accepted := accepted_instead(info, file, official):
        raise DataError(f"DataConfig.train_files[{info.name!r}] = {file!r}: expected {accepted}")
    stems = {**info.split_stems, "train": plain_name(file).removesuffix(info.extension)}
    others = {split: names for split, names in info.other_files.items() if split != "train"}
    parts = {split: names for split, names in info.parts.items() if split != "train"}
    return dataclasses.replace(info, split_stems=stems, other_files=others, parts=parts)
