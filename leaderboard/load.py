"""Result records of folders, read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.config import ConfigError, encoder_from_dict
from benchmark.hardware.chips import refuse_impossible
from benchmark.records import outcomes, verification
from benchmark.records.record import Record, RecordError, read
from tasks.system.errors import StageError

if TYPE_CHECKING:
    from leaderboard.pairing import PairedExamples


@dataclass(frozen=True)
class Loaded:
    """Records, and what their outcomes say of single examples.

    Attributes:
        records: in the order of their ids.
        pairs: id of a record -> task -> influences of its examples, where outcomes lie beside it.
    """

    records: list[Record]
    pairs: dict[str, dict[str, PairedExamples]] = field(default_factory=dict)


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
    return [record for _, record in _read(directories)]


def load(*directories: Path, intervals: bool = False) -> Loaded:
    """Reads every record of some folders, and the outcomes that lie beside them, from which scores are computed again.

    Args:
        directories: as for `load_records`.
        intervals: computes intervals again, too, which takes seconds for each record.

    Raises:
        RecordError: as `load_records`; or outcomes are damaged, or scores do not follow from them.
    """
    # Imported late: who reads records alone needs no NumPy.
    from leaderboard.pairing import check_scores, paired_examples

    pairs: dict[str, dict[str, PairedExamples]] = {}
    read_ones = _read(directories)
    for path, record in read_ones:
        scored = {task.task: task for task in record.tasks}
        for task, found in outcomes.of_record(record, path).items():
            check_scores(scored[task], found, str(path), intervals=intervals)
            pairs.setdefault(record.id, {})[task] = paired_examples(scored[task], found)
    return Loaded([record for _, record in read_ones], pairs)


def _read(directories: Sequence[Path]) -> list[tuple[Path, Record]]:
    """Reads the records, in the order of their ids."""
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
    return [found[key] for key in sorted(found)]
