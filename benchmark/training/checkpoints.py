"""Parameters and training states on disk, through orbax: complete or absent, never half-written.

Orbax writes into a temporary folder and renames it; a folder of the final name is therefore a whole checkpoint.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from benchmark.training import distributed, partitioning


def save(path: Path, tree: Any) -> None:
    """Writes a tree of arrays to `path`, replacing what is there.

    Every process of a distributed run calls this, and writes the parts of divided arrays that lie on its devices.
    """
    import orbax.checkpoint as ocp

    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, jax.tree.map(_as_stored, tree), force=True)


def _as_stored(leaf: Any) -> Any:
    divided = isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) > 1
    return leaf if divided else np.asarray(leaf)


def _alone() -> Any:
    """Options of a checkpointer that this process uses without waiting for the others of a distributed run."""
    import orbax.checkpoint as ocp

    me = distributed.process_index()
    return ocp.options.MultiprocessingOptions(primary_host=me, active_processes={me})


def restore(path: Path, like: Any, mesh: Mesh | None = None) -> Any:
    """Reads a tree of the structure, shapes and dtypes of `like`.

    Args:
        path: the checkpoint, whatever mesh it was written on.
        like: arrays, or their shapes and dtypes.
        mesh: where the result shall lie; each process reads its part, and all of them have to call. None gives whole
            host arrays, to this process alone.

    Raises:
        ValueError: the checkpoint holds something else.
        FileNotFoundError: there is no checkpoint at `path`.
    """
    import orbax.checkpoint as ocp

    path = path.resolve()
    if not path.exists():
        raise FileNotFoundError(f"{path}: no checkpoint")
    target = jax.eval_shape(lambda: like)
    if mesh is None:
        # For shapes alone orbax would look for the devices that wrote the checkpoint; host arrays it reads anywhere.
        hosted = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), target)
        with ocp.StandardCheckpointer(multiprocessing_options=_alone()) as checkpointer:
            tree = jax.tree.map(np.asarray, checkpointer.restore(path, hosted))
    else:
        with ocp.StandardCheckpointer() as checkpointer:
            tree = checkpointer.restore(path, partitioning.shaped(mesh, target))
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
    with ocp.StandardCheckpointer(multiprocessing_options=_alone()) as checkpointer:
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
