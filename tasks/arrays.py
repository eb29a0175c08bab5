"""Token arrays on disk: one `.npy` file per feature, memory-mapped, in an order that a seed and a step decide.

Trainers import this module; it needs NumPy alone. A directory is complete when it holds `meta.json`, which is written
last.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from tasks.errors import DataError

META_FILE = "meta.json"
EXAMPLES_FILE = "examples.jsonl"


@dataclass(frozen=True)
class TokenArrays:
    """The features of one split.

    Attributes:
      directory: where they lie.
      features: name -> memory-mapped array, all with the same first dimension.
      meta: the content of `meta.json`.
    """

    directory: Path
    features: Mapping[str, np.ndarray]
    meta: Mapping[str, Any]

    @property
    def num_rows(self) -> int:
        """The number of rows of every feature."""
        return int(self.meta["rows"])

    def __len__(self) -> int:
        """Gives the number of rows."""
        return self.num_rows


def is_complete(directory: Path) -> bool:
    """Checks cheaply whether a directory of token arrays is whole: `meta.json` and the sizes that it states.

    Args:
      directory: the folder, which may not exist.

    Returns:
      whether it can be used. `verify` also checks the content.
    """
    try:
        meta = json.loads((directory / META_FILE).read_text(encoding="utf-8"))
        return all((directory / name).stat().st_size == file["bytes"] for name, file in meta["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def load(directory: Path | str) -> TokenArrays:
    """Opens token arrays without reading them.

    Args:
      directory: a folder that `tasks.materialize` wrote.

    Returns:
      its memory-mapped features.

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
    return TokenArrays(directory, MappingProxyType(features), MappingProxyType(meta))


def load_examples(directory: Path | str) -> list[dict[str, Any]]:
    """Reads the examples of a span task.

    Args:
      directory: the folder of its token arrays.

    Returns:
      the examples (`id`, `title`, `question`, `context`, `answers`, `is_impossible`) in the order of `example_index`.
    """
    with (Path(directory) / EXAMPLES_FILE).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def verify(directory: Path | str) -> None:
    """Reads every file of a directory and compares it with the digest in `meta.json`.

    Args:
      directory: the folder of token arrays.

    Raises:
      DataError: naming the first file that differs.
    """
    arrays = load(directory)
    for name, expected in arrays.meta["files"].items():
        with (arrays.directory / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != expected["sha256"]:
            raise DataError(
                f"{arrays.directory / name}: sha256 is {digest}, {expected['sha256']} is expected;"
                " delete the folder and run the data stage again"
            )


@functools.lru_cache(maxsize=8)
def _permutation(num_rows: int, seed: int, epoch: int) -> np.ndarray:
    # The seed and the epoch are the key of a counter-based generator: no state to carry from epoch to epoch.
    key = (seed % 2**64) | (epoch << 64)
    permutation = np.random.Generator(np.random.Philox(key=key)).permutation(num_rows)
    permutation.flags.writeable = False
    return permutation


def batch_indices(num_rows: int, batch_size: int, step: int, seed: int) -> np.ndarray:
    """Says which rows make up a batch, as a pure function of its arguments.

    Every epoch visits every row once, in an order of its own. Batches run on across the end of an epoch, so that no
    row is left out and all batches have the same size.

    Args:
      num_rows: the number of rows of the data, at least 1.
      batch_size: the number of rows of a batch.
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
        part = _permutation(num_rows, seed, epoch)[offset : offset + missing]
        parts.append(part)
        position += len(part)
        missing -= len(part)
    return np.concatenate(parts)


def take(
    arrays: TokenArrays, indices: np.ndarray | Iterable[int], names: Iterable[str] | None = None
) -> dict[str, np.ndarray]:
    """Copies rows into memory.

    Args:
      arrays: the token arrays.
      indices: `[batch]` row numbers.
      names: the features to take; all by default.

    Returns:
      feature -> `[batch, ...]`.
    """
    rows = np.asarray(indices)
    return {name: np.asarray(arrays.features[name][rows]) for name in (names or arrays.features)}
