"""Token arrays on disk: one `.npy` file per feature, memory-mapped, in an order that a seed and a step decide.

Trainers import this module; it needs NumPy alone. A directory is complete when it holds `meta.json`, which is written
last.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from tasks.system import file_lock
from tasks.system.errors import DataError

META_FILE = "meta.json"
EXAMPLES_FILE = "examples.jsonl"
TABLE_ROWS = 2**22
# Four rounds suffice against an adversary (Luby and Rackoff 1988); two more are cheap.
_FEISTEL_ROUNDS = 6


@dataclass(frozen=True)
class TokenArrays:
    """The features of one split."""

    # Where they lie.
    directory: Path
    # Name -> memory-mapped array, all with the same first dimension.
    features: Mapping[str, np.ndarray]
    # The content of `meta.json`.
    meta: Mapping[str, Any]

    @property
    def num_rows(self) -> int:
        """The number of rows of every feature."""
        return int(self.meta["rows"])

    def __len__(self) -> int:
        """Returns the number of rows."""
        return self.num_rows


def is_complete(directory: Path) -> bool:
    """Checks cheaply that a directory of token arrays is complete: `meta.json` and the sizes that it states.

    Args:
        directory: the folder, which may not exist.

    Returns:
        True where it can be used. `damage` also checks the content.
    """
    try:
        meta = json.loads((directory / META_FILE).read_text(encoding="utf-8"))
        return all((directory / name).stat().st_size == file["bytes"] for name, file in meta["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def load(directory: Path | str) -> TokenArrays:
    """Opens token arrays without reading them.

    Args:
        directory: a folder that `tasks.materialize.steps` wrote.

    Returns:
        Its memory-mapped features. The directory counts as used as long as the result lives.

    Raises:
        DataError: if the folder is missing or incomplete.
    """
    directory = Path(directory)
    if not is_complete(directory):
        raise DataError(
            f"{directory}: no complete token arrays ({META_FILE} and the files that it lists are expected);"
            " run the data stage again"
        )
    meta = json.loads((directory / META_FILE).read_text(encoding="utf-8"))
    # Empty files cannot be mapped.
    mode: Literal["r"] | None = "r" if meta["rows"] else None
    features = {name: np.load(directory / f"{name}.npy", mmap_mode=mode) for name in meta["features"]}
    loaded = TokenArrays(directory, MappingProxyType(features), MappingProxyType(meta))
    # No data stage removes arrays that a process has open.
    file_lock.hold_shared_lock(directory, loaded)
    return loaded


def load_examples(directory: Path | str) -> list[dict[str, Any]]:
    """Reads the examples of a span task.

    Returns:
        The examples (`id`, `title`, `question`, `context`, `answers`, `is_impossible`) in the order of `example_index`.
    """
    with (Path(directory) / EXAMPLES_FILE).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def damage(directory: Path | str) -> str | None:
    """Reads every file of a directory and compares it with `meta.json`: its size, its digest, its shape.

    Returns:
        One line that names the first file that differs, or None where all is well.
    """
    directory = Path(directory)
    try:
        meta = json.loads((directory / META_FILE).read_text(encoding="utf-8"))
        for name, expected in meta["files"].items():
            size = (directory / name).stat().st_size
            if size != expected["bytes"]:
                return f"{directory / name}: {size:,} bytes, {expected['bytes']:,} are expected"
            with (directory / name).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != expected["sha256"]:
                return f"{directory / name}: sha256 is {digest}, {expected['sha256']} is expected"
        for name, expected in meta["features"].items():
            shape = list(np.load(directory / f"{name}.npy", mmap_mode="r" if meta["rows"] else None).shape)
            if shape != expected["shape"] or shape[0] != meta["rows"]:
                return f"{directory / META_FILE}: {meta['rows']} rows, {expected['shape']}; {name}.npy has {shape}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        return f"{directory / META_FILE}: missing or damaged ({type(error).__name__}: {error})"
    return None


@functools.lru_cache(maxsize=4)
def _permutation(num_rows: int, seed: int, epoch: int) -> np.ndarray:
    # The seed and the epoch are the key of a counter-based generator: no state to carry from epoch to epoch.
    key = (seed % 2**64) | (epoch << 64)
    permutation = np.random.Generator(np.random.Philox(key=key)).permutation(num_rows)
    permutation.flags.writeable = False
    return permutation


@functools.lru_cache(maxsize=4)
def _round_keys(seed: int, epoch: int) -> np.ndarray:
    key = (seed % 2**64) | (epoch << 64)
    return np.random.Generator(np.random.Philox(key=key)).integers(2**64, size=_FEISTEL_ROUNDS, dtype=np.uint64)


def _scrambled(values: np.ndarray) -> np.ndarray:
    """Applies the finaliser of SplitMix64 (Steele et al. 2014, doi 10.1145/2660193.2660195), which mixes all bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _permuted(positions: np.ndarray, num_rows: int, seed: int, epoch: int) -> np.ndarray:
    """Computes some places of a pseudo-random permutation of `num_rows` without making the whole of it.

    A generalised Feistel network on `width * width >= num_rows` numbers; a number outside is sent through again
    until it is inside (Black and Rogaway 2002, doi 10.1007/3-540-45760-7_9).
    """
    width = np.uint64(math.isqrt(num_rows - 1) + 1)
    values = positions.astype(np.uint64)
    pending = np.arange(len(values))
    while len(pending):
        left, right = np.divmod(values[pending], width)
        for key in _round_keys(seed, epoch):
            left, right = right, (left + _scrambled(right ^ key) % width) % width
        values[pending] = left * width + right
        pending = pending[values[pending] >= num_rows]
    return values.astype(np.int64)


def batch_indices(num_rows: int, batch_size: int, step: int, seed: int) -> np.ndarray:
    """Chooses the rows of a batch, as a pure function of its arguments.

    Every epoch visits every row once, each in another order. Batches cross the end of an epoch, so that no row is left
    out and all batches have the same size. The step alone decides the rows: a checkpoint needs nothing else to continue
    with the right ones.

    Up to `TABLE_ROWS` rows the order is a table, made once per epoch. For more rows a table would take seconds and
    hundreds of megabytes in every process; there each batch is computed alone.

    Args:
        num_rows: the number of rows of the data, at least 1.
        batch_size: the number of rows of a batch, over all processes.
        step: the batch's number, from 0.
        seed: decides the order.

    Returns:
        int64 `[batch_size]`.

    Raises:
        DataError: if there are no rows to choose from.
    """
    if num_rows < 1 or batch_size < 1 or step < 0:
        raise DataError(f"num_rows {num_rows}, batch_size {batch_size}, step {step}: at least 1, 1 and 0 are expected")
    parts = []
    position, missing = step * batch_size, batch_size
    while missing:
        epoch, offset = divmod(position, num_rows)
        length = min(missing, num_rows - offset)
        if num_rows <= TABLE_ROWS:
            parts.append(_permutation(num_rows, seed, epoch)[offset : offset + length])
        else:
            parts.append(_permuted(np.arange(offset, offset + length), num_rows, seed, epoch))
        position += length
        missing -= length
    return np.concatenate(parts)
