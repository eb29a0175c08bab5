"""The request of a verification: the record, and its settings read as data.

Nothing numerical is imported here: the numerics of the record have to be in force before.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from benchmark.cli.gin_data import read_gin_text
from benchmark.config import ExecutorConfig, RunConfig
from benchmark.records.record import Record, RecordError, read


@dataclasses.dataclass(frozen=True)
class Request:
    """The record to verify.

    Attributes:
        path: the record's file.
        record: its content.
        config: its settings, without databases and clusters beyond this machine.
        search: True runs the search again.
    """

    path: Path
    record: Record
    config: RunConfig
    search: bool

    @property
    def systems(self) -> frozenset[str]:
        """Names of the systems to train for this record."""
        teaches = self.config.finetune.distill is not None and self.record.system.kind in ("found", "baseline")
        return frozenset({self.record.system.name, *(["teacher"] if teaches else [])})


def read_request(path: Path, search: bool) -> Request:
    """Reads a record that is to be verified.

    Args:
        path: its file.
        search: True runs the search again.

    Raises:
        RecordError: the file is no record, is newer than this program, or holds nothing to run again.
        GinError: its gin text gives no settings.
    """
    record = read(path)
    if record.provenance is None:
        raise RecordError(f"{path}: system.kind = {record.system.kind!r}: nothing in it can be run again")
    if search and record.system.kind != "found":
        raise RecordError(
            f"{path}: --verify_search: system.kind = {record.system.kind!r}: only a found system has a search"
        )
    config = read_gin_text(record.provenance.gin_text, f"{path}: provenance.gin_text")
    # A record of somebody else's may name a database or a cluster; neither changes a result.
    if config.search is not None:
        local = dataclasses.replace(config.search, storage_url="", executor=ExecutorConfig())
        config = dataclasses.replace(config, search=local)
    return Request(path, record, config, search)
