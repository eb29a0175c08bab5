"""Files of one split in numbered parts: `train-00000-of-00003.parquet`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tasks.system.errors import DataError

_NUMBER = re.compile(r"-(\d{5,})-of-(\d{5,})")


def complete(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Checks that no part of a split is missing.

    Args:
        paths: the files of one split; those without `-NNNNN-of-NNNNN` in their name are complete alone.

    Returns:
        The files in the order of their numbers.

    Raises:
        DataError: if the numbers are not exactly those that the names promise.
    """
    files = tuple(sorted(paths))
    numbers = [match.groups() for path in files if (match := _NUMBER.search(path.name))]
    if not numbers:
        return files
    totals = {int(total) for _, total in numbers}
    found = {int(number) for number, _ in numbers}
    wanted = set(range(max(totals)))
    if len(totals) > 1 or found != wanted or len(files) != len(wanted):
        missing = sorted(wanted - found)
        problem = (
            f"part {missing[0]:05d} of {max(totals):05d} is missing" if missing else "parts of two copies are mixed"
        )
        raise DataError(f"{files[0].parent}: {problem} next to {files[0].name}; copy the folder again")
    return files
