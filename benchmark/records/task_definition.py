"""The definition of an own task in a record: everything that its scores depend on, and no path of a machine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from benchmark.records.strict_schema import Finite, StrictModel


class TaskFile(StrictModel):
    """A file of an own task: its name without folder, the format it was read as, and the digest of its bytes."""

    name: str
    format: Literal["tsv", "csv", "jsonl", "json", "parquet"]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class TaskDefinition(StrictModel):
    """A task that the catalogue lacks (`benchmark.config.TaskConfig`).

    `files` and `examples` (rows that were used) are by split. Where `files` has no `validation`, the share
    `validation_fraction` of the training rows was held out, by `split_seed`. A label's position in `label_names` is its
    id; they are those of the training file where the settings name none.
    """

    title: str
    kind: Literal["classification", "regression", "span"]
    files: dict[str, TaskFile]
    examples: dict[str, int]
    validation_fraction: Finite | None
    split_seed: int | None
    text_columns: list[str]
    label_column: str
    label_names: list[str]
    label_range: list[Finite]
    unanswerable: bool
    metrics: list[str]

    def content(self) -> dict[str, object]:
        """Returns what makes scores comparable: all but the title and the names of files."""
        values = self.model_dump(mode="json", exclude={"title"})
        return {**values, "files": {split: (f.format, f.sha256) for split, f in self.files.items()}}
