"""Parameters and training states on disk, through orbax: complete or absent, never half-written.

Orbax writes into a temporary folder and renames it; a folder of the final name is therefore a whole checkpoint.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np


def save(path: Path, tree: Any) -> None:
    """Writes a tree of arrays to `path`, replacing what is there."""
    import orbax.checkpoint as ocp

    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, jax.tree.map(np.asarray, tree), force=True)


def restore(path: Path, like: Any) -> Any:
    """Reads a tree of the structure, shapes and dtypes of `like`.

    Raises:
        ValueError: the checkpoint holds something else.
        FileNotFoundError: there is no checkpoint at `path`.
    """
    import orbax.checkpoint as ocp

    path = path.resolve()
    if not path.exists():
        raise FileNotFoundError(f"{path}: no checkpoint")
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), np.asarray(x).dtype), like)
    with ocp.StandardCheckpointer() as checkpointer:
        tree = jax.tree.map(np.asarray, checkpointer.restore(path, target))
    # Orbax checks the structure, and hands back arrays of whatever shape the file holds.
    for (place, found), wanted in zip(jax.tree.leaves_with_path(tree), jax.tree.leaves(target), strict=True):
        if found.shape != wanted.shape:
            raise ValueError(f"{path}: {jax.tree_util.keystr(place)} has shape {found.shape}, expected {wanted.shape}")
    return tree


def names(path: Path) -> set[str]:
    """The names at the top of a saved tree, such as `encoder` and those of the heads; no array is read.

    Raises:
        FileNotFoundError: there is no checkpoint at `path`.
    """
    import orbax.checkpoint as ocp

    if not path.exists():
        raise FileNotFoundError(f"{path}: no checkpoint")
    with ocp.StandardCheckpointer() as checkpointer:
        return set(checkpointer.metadata(path.resolve()).item_metadata.tree)


def steps(directory: Path) -> list[int]:
    """Step numbers of the whole checkpoints under `directory`, rising."""
    if not directory.is_dir():
        return []
    return sorted(int(entry.name) for entry in directory.iterdir() if entry.name.isdigit())


def keep_latest(directory: Path, count: int = 2) -> None:
    """Removes all but the newest `count` checkpoints."""
    for step in steps(directory)[:-count]:
        shutil.rmtree(directory / str(step), ignore_errors=True)
