"""Atomic writing of token arrays: a killed process leaves nothing incomplete in their place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.arrays.token_arrays import META_FILE, damage
from tasks.system.atomic_directory import atomic_directory
from tasks.system.errors import DataError
from tasks.system.folders import remove_folder


@contextmanager
def array_directory(target: Path, dtypes: Mapping[str, npt.DTypeLike]) -> Iterator[ArrayWriter]:
    """Opens a writer whose files become the directory `target` when the block succeeds.

    Args:
        target: the place; a damaged directory there is removed.
        dtypes: feature -> type in which it is stored.

    Yields:
        A writer; further files may be put into its `directory`.
    """
    if target.is_dir() and damage(target):
        remove_folder(target)
    with atomic_directory(target) as temporary:
        writer = ArrayWriter(temporary, {name: np.dtype(dtype) for name, dtype in dtypes.items()})
        try:
            yield writer
        finally:
            writer.close()
        write_meta(temporary, writer.num_rows, {"name": target.name})


class ArrayWriter:
    """Writer of the features of one split, batch by batch, without a number of rows known in advance."""

    # A .npy header is padded to a multiple of 64 bytes; these fit any of ours with any number of rows.
    _HEADER_BYTES = 128

    def __init__(self, directory: Path, dtypes: Mapping[str, np.dtype]) -> None:
        """Creates the files.

        Args:
            directory: an existing, empty folder.
            dtypes: feature -> type in which it is stored.
        """
        self.directory = directory
        self._dtypes = dict(dtypes)
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._files = {name: (directory / f"{name}.npy").open("wb") for name in dtypes}
        for file in self._files.values():
            file.write(bytes(self._HEADER_BYTES))
        self.num_rows = 0

    def append(self, batch: Mapping[str, np.ndarray]) -> None:
        """Adds rows.

        Args:
            batch: feature -> `[rows, ...]`, for every feature.
        """
        rows = {len(batch[name]) for name in self._files}
        if len(rows) != 1:
            raise DataError(f"{self.directory}: features of a batch differ in their number of rows: {sorted(rows)}")
        for name, file in self._files.items():
            self._shapes[name] = batch[name].shape[1:]
            file.write(np.ascontiguousarray(batch[name], self._dtypes[name]).data)
        self.num_rows += rows.pop()

    def close(self) -> None:
        """Writes the headers and closes the files."""
        for name, file in self._files.items():
            header = _npy_header((self.num_rows, *self._shapes.get(name, ())), self._dtypes[name], self._HEADER_BYTES)
            file.seek(0)
            file.write(header)
            file.close()


def _npy_header(shape: tuple[int, ...], dtype: np.dtype, size: int) -> bytes:
    """Builds a version 1.0 `.npy` header (numpy.lib.format) of exactly `size` bytes."""
    text = repr({"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    prefix = b"\x93NUMPY\x01\x00" + (size - 10).to_bytes(2, "little")
    return prefix + text.encode("latin1").ljust(size - 11) + b"\n"


def write_meta(directory: Path, rows: int, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Digests the files of a directory and writes its `meta.json`, which makes it complete.

    Args:
        directory: a folder with all its other files in place.
        rows: the number of rows of every feature.
        extra: further members of `meta.json`.

    Returns:
        The content of `meta.json`.
    """
    features = {}
    for path in sorted(directory.glob("*.npy")):
        array = np.load(path, mmap_mode="r")
        features[path.stem] = {"dtype": array.dtype.name, "shape": list(array.shape)}
    files = {}
    for path in sorted(directory.iterdir()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        files[path.name] = {"bytes": path.stat().st_size, "sha256": digest}
    meta = {"rows": rows, "features": features, "files": files, **extra}
    (directory / META_FILE).write_text(json.dumps(meta, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return meta
