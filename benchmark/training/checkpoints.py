"""Parameters and training states on disk, through orbax: complete or absent, never half-written.

Orbax writes into a temporary folder and renames it, so that a process that dies leaves no half checkpoint behind. It
does not always notice later damage (power that failed, a copy that broke off): where a bit of an array's file has
changed, it hands back other numbers. Each checkpoint therefore holds the digests of its files.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np
import orbax.checkpoint as ocp

from benchmark.training import distributed, partitioning
from tasks.system.folders import remove_folder

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from benchmark.models.trees import PyTree

DIGESTS = "digests.json"
# The end of TensorStore's message where the system refused something.
_SYSTEM_ERROR = re.compile(r"\[os_error_code='(\d+)'\]")


def save(path: Path, tree: PyTree) -> None:
    """Writes a tree of arrays to `path`, replacing an earlier checkpoint.

    Every process of a distributed run calls this, and writes the parts of divided arrays that lie on its devices.

    Raises:
        OSError: the system refuses to write, as on a full disk.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Left by a process that died while it wrote this checkpoint; orbax would warn of it.
    if distributed.is_leader():
        for unfinished in path.parent.glob(f"{path.name}.orbax-checkpoint-tmp*"):
            remove(unfinished)
    with _system_errors(path), ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, jax.tree.map(_as_stored, tree), force=True)
    # All processes wait in `save` until the last one has written its part.
    if distributed.is_leader():
        digests = json.dumps({"sha256": _digests(path)}, indent=1, sort_keys=True)
        whole = path / f"{DIGESTS}.new"
        whole.write_text(digests, encoding="utf-8")
        whole.replace(path / DIGESTS)


@contextmanager
def _system_errors(path: Path) -> Iterator[None]:
    """Raises the system's refusal to write a checkpoint as an `OSError`.

    TensorStore raises errors of other classes, whose message ends in the system's code, and orbax logs the traceback of
    each of its threads.
    """
    logger = logging.getLogger("absl")
    logger.addFilter(_is_no_system_error)
    try:
        yield
    except Exception as error:
        if found := _SYSTEM_ERROR.search(str(error)):
            raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from None
        raise
    finally:
        logger.removeFilter(_is_no_system_error)


def _is_no_system_error(record: logging.LogRecord) -> bool:
    raised = record.exc_info[1] if record.exc_info else None
    return _SYSTEM_ERROR.search(f"{record.getMessage()} {raised}") is None


def _digests(path: Path) -> dict[str, str]:
    """SHA-256 of every file below `path` but the list of digests itself."""
    found = {}
    for file in sorted(entry for entry in path.rglob("*") if entry.is_file() and not entry.name.startswith(DIGESTS)):
        with file.open("rb") as opened:
            found[file.relative_to(path).as_posix()] = hashlib.file_digest(opened, "sha256").hexdigest()
    return found


def damage(path: Path) -> str | None:
    """Reads all files of a checkpoint and compares them with the digests that were written with it.

    Returns:
        A few words on the first file that is missing, changed or too many; None where all is well.
    """
    try:
        expected = json.loads((path / DIGESTS).read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{DIGESTS} is missing or cannot be read ({type(error).__name__})"
    found = _digests(path)
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing"
        if found[name] != expected.get(name):
            return f"{name} is not what was written"
    return None


def remove(path: Path) -> None:
    """Removes a checkpoint, if it is there."""
    remove_folder(path, ignore_errors=True)


def _as_stored(leaf: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
    divided = isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) > 1
    return leaf if divided else np.asarray(leaf)


def _single_process_options() -> ocp.options.MultiprocessingOptions:
    """Options of a checkpointer that this process uses without waiting for the others of a distributed run."""
    me = distributed.process_index()
    return ocp.options.MultiprocessingOptions(primary_host=me, active_processes={me})


def restore(path: Path, like: PyTree, mesh: Mesh | None = None) -> PyTree:
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
    path = path.resolve()
    if not path.exists():
        raise FileNotFoundError(f"{path}: no checkpoint")
    target = jax.eval_shape(lambda: like)
    if mesh is None:
        # For shapes alone orbax would look for the devices that wrote the checkpoint; host arrays it reads anywhere.
        hosted = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), target)
        with ocp.StandardCheckpointer(multiprocessing_options=_single_process_options()) as checkpointer:
            tree = jax.tree.map(np.asarray, checkpointer.restore(path, hosted))
    else:
        with ocp.StandardCheckpointer() as checkpointer:
            tree = checkpointer.restore(path, partitioning.shaped(mesh, target))
    # Orbax checks the structure alone, and hands back arrays of any shape that the file holds.
    for (place, found), wanted in zip(jax.tree.leaves_with_path(tree), jax.tree.leaves(target), strict=True):
        if found.shape != wanted.shape:
            raise ValueError(f"{path}: {jax.tree_util.keystr(place)} has shape {found.shape}, expected {wanted.shape}")
    return tree


def names(path: Path) -> set[str]:
    """Reads the names at the top of a saved tree, such as `encoder` and those of the heads, but no array.

    Raises:
        FileNotFoundError: there is no checkpoint at `path`.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no checkpoint")
    with ocp.StandardCheckpointer(multiprocessing_options=_single_process_options()) as checkpointer:
        return set(checkpointer.metadata(path.resolve()).item_metadata.tree)


def steps(directory: Path) -> list[int]:
    """Lists the step numbers of the checkpoints under `directory`, rising."""
    if not directory.is_dir():
        return []
    return sorted(int(entry.name) for entry in directory.iterdir() if entry.name.isdigit())


def keep_latest(directory: Path, count: int = 2) -> None:
    """Removes all but the newest `count` checkpoints."""
    for step in steps(directory)[:-count]:
        remove(directory / str(step))
