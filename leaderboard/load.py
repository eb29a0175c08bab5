"""Result records of folders, read and checked."""

from __future__ import annotations

from pathlib import Path

from benchmark.config import ConfigError, encoder_from_dict
from benchmark.hardware.chips import refuse_impossible
from benchmark.records import verification
from benchmark.records.record import Record, RecordError, read
from tasks.system.errors import StageError


def record_files(directory: Path) -> list[Path]:
    """Lists the record files of a run's folder or of a results folder, in name order.

    Args:
        directory: a folder that holds `results/*.json`, or the folder `results` itself.

    Returns:
        The files, without hidden ones (writes in progress) and without verifications, which lie next to their records.

    Raises:
        RecordError: there is no such folder, or no record in it.
    """
    folder = directory / "results" if (directory / "results").is_dir() else directory
    if not folder.is_dir():
        raise RecordError(f"{directory}: not a folder")
    files = verification.record_files(folder)
    if not files:
        raise RecordError(f"{folder}: no record files (*.json)")
    return files


def load_records(*directories: Path) -> list[Record]:
    """Reads and validates every record of some folders.

    Args:
        directories: folders that hold `results/*.json`, or folders `results` themselves.

    Returns:
        The records in the order of their ids, which need not be that of the file names.

    Raises:
        RecordError: a file is not a valid record, a latency is lower than its chip can reach, two records share an id
            (letter case aside), or a folder has none.
    """
    found: dict[str, tuple[Path, Record]] = {}
    for path in (path for directory in directories for path in record_files(directory)):
        record = read(path)
        if record.system.encoder is not None:
            try:
                refuse_impossible(encoder_from_dict(record.system.encoder), record.latency)
            except (ConfigError, StageError) as error:
                raise RecordError(f"{path}: {error}") from None
        # Ids become fragments of addresses and file names, where some systems ignore letter case.
        key = record.id.casefold()
        if key in found:
            raise RecordError(f"{path}: id = {record.id!r}: already used by {found[key][0]}")
        found[key] = (path, record)
    return [found[key][1] for key in sorted(found)]
