"""Compressed files: the endings that are read wherever a text is, their content, their errors."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from tasks.system.errors import DataError

# Endings of compressed files, behind that of the content.
COMPRESSIONS = (".gz", ".xz", ".bz2")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ARCHIVE_ERRORS = (EOFError, OSError, lzma.LZMAError, zlib.error)


def open_binary(path: Path) -> IO[bytes]:
    """Opens a plain or compressed file for reading its content.

    Args:
        path: the file; its ending decides the compression.

    Returns:
        A binary stream of the uncompressed content.
    """
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    if path.suffix == ".xz":
        return cast("IO[bytes]", lzma.open(path, "rb"))
    if path.suffix == ".bz2":
        return cast("IO[bytes]", bz2.open(path, "rb"))
    return path.open("rb")


@contextmanager
def archive_errors(path: Path) -> Iterator[None]:
    """Turns the exceptions of a damaged archive inside the block into a `DataError`.

    Args:
        path: the file, for the message.

    Raises:
        DataError: if the archive is damaged, or no archive.
    """
    try:
        yield
    except _ARCHIVE_ERRORS as error:
        # gzip and bz2 raise an `OSError` too, without the number that one of the system has.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"{path}: damaged or wrongly named archive ({error}); get the file again") from error


def existing_file(path: Path) -> Path | None:
    """Finds a file, or else the one that has an ending of `COMPRESSIONS` too; None where there is neither."""
    candidates = (path.with_name(path.name + ending) for ending in ("", *COMPRESSIONS))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def read_content(path: Path) -> bytes:
    """Reads a whole file, uncompressed and without its byte-order mark.

    Raises:
        DataError: on a damaged archive.
    """
    with archive_errors(path), open_binary(path) as file:
        return file.read().removeprefix(BYTE_ORDER_MARK)
