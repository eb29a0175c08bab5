"""The request of the data stage as a plain record: the fields of `benchmark.config.DataConfig`, and no limits.

`DataConfig` documents the fields and checks them when a gin file is loaded; `DataConfig.request` makes the record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.encoding.spans import SpanConfig
from tasks.own_task import OwnFile, OwnTask

if TYPE_CHECKING:
    from tasks.files.bad_rows import OnBadRow

__all__ = ["MaterializeRequest", "OwnFile", "OwnTask"]


@dataclass(frozen=True, kw_only=True)
class MaterializeRequest:
    """The data to make and their shape; its paths are final."""

    source: str
    directory: str
    microworld_seed: int
    microworld_scale: float
    vocabulary: str
    vocabulary_size: int
    pretrain_corpora: tuple[str, ...]
    pretrain_rates: tuple[float, ...]
    pretrain_validation: str
    pretrain_length: int
    pretrain_max_rows: int
    sentence_pairs: bool
    pretrain_seed: int
    validation_rows: int
    tasks: tuple[str, ...]
    # Definitions of the tasks that the catalogue lacks.
    own_tasks: tuple[OwnTask, ...]
    # Task -> name of the training file that it has instead of the official one.
    train_files: Mapping[str, str]
    task_length: int
    span_length: int
    span_stride: int
    max_query_length: int
    on_bad_row: OnBadRow

    def span_config(self) -> SpanConfig:
        """Makes the settings of the windows of span tasks."""
        return SpanConfig(length=self.span_length, stride=self.span_stride, max_query_length=self.max_query_length)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MaterializeRequest:
        """Makes a request of the `request` member of a `data.json`, which has lists for tuples."""
        fields: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        return cls(**fields | {"own_tasks": tuple(OwnTask.from_dict(task) for task in values.get("own_tasks", ()))})
