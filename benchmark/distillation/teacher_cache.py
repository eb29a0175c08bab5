"""The teacher of a run, and its outputs on the batches of the run, kept for the next student.

The batches of a distillation depend on the seed and the step alone, so all students of a search and of a track need
the same outputs of the teacher. They are computed once, kept in memory and, if asked for, on disk up to a limit each,
and computed again beyond it. A kept output is the array that was computed: the bits are those of a live teacher.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from benchmark.distillation.outputs import Outputs
from tasks.system.folders import empty_cache_folder

if TYPE_CHECKING:
    from benchmark.config import EncoderConfig
    from benchmark.models.trees import Params


class TeacherCache:
    """Outputs by key, filled by the threads that ask for them.

    Kept outputs stay: every student goes through the batches in the same order, and a cache that dropped the oldest
    for the newest would have lost each batch when the next student comes to it.

    Attributes:
        computed: number of runs of the teacher whose outputs were kept.
        reused: number of times that kept outputs were handed out.
        live: number of runs of the teacher because there was no room.
        memory_bytes: bytes kept in memory (of this process' devices).
        disk_bytes: bytes kept on disk.
    """

    def __init__(self, memory_limit: int, directory: Path | None = None, disk_limit: int = 0) -> None:
        """Starts empty.

        Args:
            memory_limit: bytes to keep in memory; 0 keeps none there.
            directory: folder for outputs that do not fit into memory; its old content is removed.
            disk_limit: bytes to keep there.
        """
        self._limits = memory_limit, disk_limit if directory is not None else 0
        self._directory = directory
        self._kept: dict[Hashable, Future[Callable[[], Outputs] | None]] = {}
        self._lock = threading.Lock()
        self.computed = self.reused = self.live = self.memory_bytes = self.disk_bytes = 0
        self.close()

    def get(self, key: Hashable, compute: Callable[[], Outputs]) -> Outputs:
        """Gives the outputs kept under `key`, or computes them; of several threads that ask at once one computes.

        Args:
            key: all that the outputs depend on.
            compute: runs the teacher.
        """
        with self._lock:
            entry = self._kept.get(key)
            first = entry is None
            if entry is None:
                entry = self._kept[key] = Future()
        if first:
            try:
                outputs = compute()
                entry.set_result(self._keep(outputs))
            except BaseException:
                # Threads that wait, and the next one to ask, compute the outputs themselves.
                entry.set_result(None)
                with self._lock:
                    del self._kept[key]
                raise
            return outputs
        load = entry.result()
        with self._lock:
            self.reused += load is not None
            self.live += load is None
        return compute() if load is None else load()

    def _keep(self, outputs: Outputs) -> Callable[[], Outputs] | None:
        """Keeps outputs where there is room; gives the function that hands them out again, or None."""
        size = sum(part.data.nbytes for leaf in jax.tree.leaves(outputs) for part in leaf.addressable_shards)
        divided = any(len(leaf.sharding.device_set) > 1 for leaf in jax.tree.leaves(outputs))
        with self._lock:
            in_memory = self.memory_bytes + size <= self._limits[0]
            on_disk = not in_memory and not divided and self.disk_bytes + size <= self._limits[1]
            number = self.computed
            self.computed += in_memory or on_disk
            self.live += not (in_memory or on_disk)
            self.memory_bytes += size * in_memory
            self.disk_bytes += size * on_disk
        if in_memory:
            return lambda: outputs
        return self._write(outputs, number) if on_disk else None

    def _write(self, outputs: Outputs, number: int) -> Callable[[], Outputs]:
        """Writes outputs to one file for each array; gives the function that reads them."""
        assert self._directory is not None
        self._directory.mkdir(parents=True, exist_ok=True)
        places: dict[str, tuple[Path, np.dtype, tuple[int, ...]]] = {}
        for name, leaf in outputs._asdict().items():
            if leaf is not None:
                array = np.asarray(leaf)
                places[name] = self._directory / f"{number}.{name}", array.dtype, array.shape
                array.tofile(places[name][0])

        def read() -> Outputs:
            arrays = {n: jax.numpy.asarray(np.fromfile(p, d).reshape(s)) for n, (p, d, s) in places.items()}
            return Outputs(**{name: arrays.get(name) for name in Outputs._fields})

        return read

    def close(self) -> None:
        """Drops all outputs, on disk too."""
        with self._lock:
            self._kept.clear()
            self.memory_bytes = self.disk_bytes = 0
        if self._directory is not None:
            empty_cache_folder(self._directory)

    def report(self) -> dict[str, int]:
        """Counts the requests so far and the bytes that are kept."""
        names = ("computed", "reused", "live", "memory_bytes", "disk_bytes")
        return {name: int(getattr(self, name)) for name in names}

    def summary(self) -> str:
        """Writes `report` as a progress line."""
        r = self.report()
        size = (r["memory_bytes"] + r["disk_bytes"]) / 2**20
        kept = f"the teacher's outputs on {r['computed']} batches ({size:.0f} MiB)"
        return f"{kept} were reused {r['reused']} times; {r['live']} times it ran without room for more"


@dataclass(frozen=True)
class Teacher:
    """A trained teacher.

    Attributes:
        encoder: its architecture.
        params: its parameters, with masked-LM head.
        cache: its outputs on the rows of a run, which the students of the run share; None runs the teacher every time.
            It is not used with `TrainerConfig.teacher_in_step`.
    """

    encoder: EncoderConfig
    params: Params
    cache: TeacherCache | None = None
