"""The definition of an own task: labelled files with named columns. Standard library only.

`benchmark.config.TaskConfig` documents the fields and checks them; here they are a plain record with final paths, as it
travels to the data stage and lies in `data.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

Format = Literal["tsv", "csv", "jsonl", "json", "parquet"]


@dataclass(frozen=True, kw_only=True)
class OwnFile:
    """A file of an own task."""

    # `train`, `validation` or `test`.
    split: str
    path: str
    # `json` is the nested form of SQuAD.
    format: Format

    @property
    def name(self) -> str:
        """Its name without folder: records hold no path of a machine."""
        return PurePath(self.path).name


@dataclass(frozen=True, kw_only=True)
class OwnTask:
    """An own task; nothing in it is left to a default."""

    name: str
    title: str
    kind: Literal["classification", "regression", "span"]
    # Training first. Without a validation file, `validation_fraction` of the training rows are held out.
    files: tuple[OwnFile, ...]
    validation_fraction: float
    split_seed: int
    # One or two; those of question and context in a span task.
    text_columns: tuple[str, ...]
    # The column of the answers in a span task.
    label_column: str
    # A label's position is its id. () before the data stage has found them in the training file.
    label_names: tuple[str, ...]
    # Lowest and highest label of a regression, () for no limit.
    label_range: tuple[float, ...]
    # Questions of a span task may have no answer.
    unanswerable: bool
    metrics: tuple[str, ...]

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits, in their order."""
        given = {file.split for file in self.files}
        return ("train", "validation", *(["test"] if "test" in given else []))

    def file(self, split: str) -> OwnFile:
        """Returns the file that a split is read from: the training file where validation rows are held out of it."""
        own = {file.split: file for file in self.files}
        return own.get(split, own["train"]) if split == "validation" else own[split]

    def source_name(self, split: str) -> str:
        """Names the file of a split in `data.json` and in records: task, split of the file, and the file's name."""
        file = self.file(split)
        return f"{self.name}/{file.split}/{file.name}"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OwnTask:
        """Makes a task of the output of `dataclasses.asdict`, which JSON may have turned into lists."""
        fields: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        return cls(**fields | {"files": tuple(OwnFile(**file) for file in values["files"])})
