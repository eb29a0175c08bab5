"""Plain and compressed files: digests of their content, and their lines."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from tasks.system.compression import BYTE_ORDER_MARK, archive_errors, open_binary
from tasks.system.errors import DataError


def sha256_file(path: Path) -> str:
    """Digests the bytes of a file as they lie on disk (compressed files are not unpacked).

    Returns:
        64 hexadecimal digits.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(path: Path) -> tuple[str, int]:
    """Digests the content of a file, uncompressed.

    Args:
        path: plain or compressed file.

    Returns:
        SHA-256 (64 hexadecimal digits) and the number of bytes.

    Raises:
        DataError: on a damaged archive.
    """
    digest, size = hashlib.sha256(), 0
    with archive_errors(path), open_binary(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size


def raw_lines(path: Path, *, keep_ends: bool = False) -> Iterator[bytes]:
    r"""Reads a file line by line, without decoding.

    Lines end at `\n` only: the texts hold characters such as U+2028 that other readers break lines at. A byte-order
    mark is dropped, and so is the carriage return of a Windows line ending.

    Args:
        path: plain or compressed file.
        keep_ends: leaves the endings as they are.

    Yields:
        The lines without their endings, unless `keep_ends`.

    Raises:
        DataError: on a damaged archive, or a file whose lines end with a carriage return alone, as on old Macs.
    """
    with archive_errors(path), open_binary(path) as file:
        # The `readline` of the archive classes is slow.
        lines = iter(io.BufferedReader(cast("io.RawIOBase", file), 1 << 16))
        first = next(lines, b"").removeprefix(BYTE_ORDER_MARK)
        second = next(lines, b"")
        # Within a text of several lines a lone carriage return is a character like any other.
        if not second and b"\r" in first.rstrip(b"\r\n"):
            raise DataError(f"{path}: its lines end with a carriage return alone; line feeds (\\n) are expected")
        for line in itertools.chain((first, second), lines):
            if line:
                yield line if keep_ends else line.rstrip(b"\r\n")


def not_utf8(error: UnicodeDecodeError) -> str:
    """Describes a byte that is not UTF-8, as the rest of a message that begins with the place."""
    return f"byte 0x{error.object[error.start]:02x} at position {error.start} is not UTF-8; UTF-8 text is expected"


def read_lines(path: Path) -> Iterator[str]:
    """Reads a UTF-8 text file line by line; see `raw_lines` for the meaning of a line.

    Args:
        path: plain or compressed file.

    Yields:
        The lines without their endings.

    Raises:
        DataError: on bytes that are not UTF-8, naming the line, or a damaged archive.
    """
    for number, line in enumerate(raw_lines(path), start=1):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: line {number}: {not_utf8(error)}") from error
