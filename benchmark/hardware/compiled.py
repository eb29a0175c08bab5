"""Cycles of an encoder by the TPU's own compiler, without a TPU: child processes with libtpu, and a cache on disk.

docs/hardware.md explains the numbers and their accuracy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import queue
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.config import ChipConfig, EncoderConfig, fingerprint, to_dict
from benchmark.hardware.tpu_compiler import ENVIRONMENT
from benchmark.process import numerics
from tasks.system.atomic_write import write_text
from tasks.system.child_process import ChildProcess, child_environment, module_command
from tasks.system.cores import usable_cores
from tasks.system.errors import StageError

# Raised when the same program would get other figures.
ESTIMATOR_VERSION = 1
# Encoders up to this depth are compiled whole. Layers of one program do not all cost the same, so that extrapolating
# from a few misses by up to 10 %; deeper ones are extrapolated from half this depth and this depth.
WHOLE_LAYERS = 24
# Processes that compile at the same time; each uses one core and about 1 GB.
WORKERS = 2
TIMEOUT_S = 300.0
DTYPE = "bfloat16"

_CHILD = module_command("benchmark.hardware.compiled_child")
# Fields of an encoder that its serving program does not depend on.
_NOT_SERVED = {"initializer_range", "position_initializer", "pooler"}


@dataclass(frozen=True)
class CompiledFigures:
    """The compiler's figures of one serving program."""

    # Sum of the estimated cycles.
    cycles: int
    # Cycles of waiting for copies from main memory (`benchmark.hardware.hlo_copies`).
    waiting_cycles: int
    # Copied from main memory while the program runs.
    bytes: int
    # Copied before it begins.
    prefetched_bytes: int
    # Number of operations without an estimate.
    unestimated: int
    # Time of compiling.
    seconds: float
    # Depths that were compiled; two where the figures are extrapolated.
    compiled_layers: tuple[int, ...]

    @property
    def total_cycles(self) -> int:
        """Cycles, waiting included."""
        return self.cycles + self.waiting_cycles


def versions() -> dict[str, str]:
    """Returns the versions of libtpu and jax; '' for libtpu where it is not installed."""
    if importlib.util.find_spec("libtpu") is None:
        return {"libtpu": "", "jax": importlib.metadata.version("jax")}
    return {name: importlib.metadata.version(name) for name in ("libtpu", "jax")}


def _stop_all(children: list[ChildProcess]) -> None:
    while children:
        children.pop().stop()


class Compiler:
    """Compiles encoders for one chip, batch size and length, and caches the compiler's figures.

    Args:
        chip: needs `topology`, `clock_hz` and `memory_bandwidth`.
        batch_size: sequences in a batch.
        sequence_length: tokens in a sequence.
        cache_directory: folder of the cache, with a file for each program; None keeps figures in memory.
        command: command line of the child process.
        timeout_s: limit for one program.

    Raises:
        ConfigError: the chip lacks a figure.
    """

    def __init__(
        self,
        chip: ChipConfig,
        batch_size: int,
        sequence_length: int,
        cache_directory: Path | None,
        command: Sequence[str] = _CHILD,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        chip.require("compiled", "topology", "clock_hz", "memory_bandwidth")
        self._request = {
            "topology": chip.topology,
            "cores": chip.cores,
            "batch_size": batch_size,
            "sequence_length": sequence_length,
            "bytes_per_cycle": chip.memory_bandwidth / chip.clock_hz,
        }
        self.versions = versions()
        self._identity = {**self._request, **self.versions, "dtype": DTYPE, "estimator": ESTIMATOR_VERSION}
        self._directory, self._command, self._timeout_s = cache_directory, command, timeout_s
        self._cache: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._children: list[ChildProcess] = []
        self._idle: queue.SimpleQueue[ChildProcess] = queue.SimpleQueue()
        self.close = weakref.finalize(self, _stop_all, self._children)

    def device(self) -> str:
        """Returns the kind of device that libtpu compiles for.

        Raises:
            StageError: libtpu does not know the topology, or its process died or hung.
        """
        found = self._read_cached("device")
        if found is None:
            with self._lock:
                child = self._start()
                found = {"device": child[1]}
                self._idle.put(child[0])
            self._write_cached("device", found)
        kind: str = found["device"]
        return kind

    def figures(self, encoders: Sequence[EncoderConfig]) -> list[CompiledFigures | StageError]:
        """Returns the figures of each encoder's serving program, or its error; from the cache where known."""
        wanted: dict[str, EncoderConfig] = {}
        for encoder in encoders:
            for depth in compiled_depths(encoder):
                program = dataclasses.replace(encoder, num_hidden_layers=depth)
                wanted.setdefault(self._key(program), program)
        errors: dict[str, StageError] = {}
        # One caller compiles at a time; another that asks for the same programs then finds them in the cache.
        with self._lock:
            missing = [key for key in wanted if self._read_cached(key) is None]

            def work(key: str) -> None:
                try:
                    self._write_cached(key, self._compile(wanted[key]))
                except StageError as error:
                    errors[key] = error

            if missing:
                with ThreadPoolExecutor(min(WORKERS, len(missing), usable_cores())) as pool:
                    list(pool.map(work, missing))
        return [self._combine(encoder, errors) for encoder in encoders]

    def _combine(self, encoder: EncoderConfig, errors: dict[str, StageError]) -> CompiledFigures | StageError:
        depths = compiled_depths(encoder)
        found = []
        for depth in depths:
            key = self._key(dataclasses.replace(encoder, num_hidden_layers=depth))
            if key in errors:
                return errors[key]
            values = self._read_cached(key)
            assert values is not None
            found.append(values)
        return extrapolate(found, depths, encoder.num_hidden_layers)

    def _compile(self, encoder: EncoderConfig) -> dict[str, Any]:
        try:
            child = self._idle.get_nowait()
        except queue.Empty:
            child = self._start()[0]
        try:
            return self._ask(child, {"encoder": to_dict(encoder)})
        finally:
            if child.alive:
                self._idle.put(child)
            else:
                self._children.remove(child)
                child.stop()

    def _start(self) -> tuple[ChildProcess, str]:
        """Starts a child and sends it the target; returns it with the kind of its device."""
        environment = child_environment(numerics.native_environment(os.environ), **ENVIRONMENT)
        child = ChildProcess(self._command, environment, "compiling")
        self._children.append(child)
        try:
            return child, self._ask(child, self._request)["device"]
        except StageError:
            self._children.remove(child)
            child.stop()
            raise

    def _ask(self, child: ChildProcess, request: dict[str, Any]) -> dict[str, Any]:
        return child.ask(request, self._timeout_s, f"compiling took more than {self._timeout_s:g} s")

    def _key(self, encoder: EncoderConfig) -> str:
        served = {name: value for name, value in to_dict(encoder).items() if name not in _NOT_SERVED}
        return fingerprint(served, self._identity)

    def _path(self, key: str) -> Path | None:
        if self._directory is None:
            return None
        return self._directory / f"{key if key != 'device' else fingerprint(self._identity)}.json"

    def _read_cached(self, key: str) -> dict[str, Any] | None:
        path = self._path(key)
        if key not in self._cache and path is not None:
            # A damaged file is compiled again.
            with contextlib.suppress(OSError, ValueError):
                self._cache[key] = json.loads(path.read_text(encoding="utf-8"))
        return self._cache.get(key)

    def _write_cached(self, key: str, values: dict[str, Any]) -> None:
        self._cache[key] = values
        if path := self._path(key):
            write_text(path, json.dumps(values) + "\n")


def compiled_depths(encoder: EncoderConfig) -> tuple[int, ...]:
    """Returns the depths at which an encoder is compiled: its own, or two for an extrapolation."""
    depth = encoder.num_hidden_layers
    return (depth,) if depth <= WHOLE_LAYERS else (WHOLE_LAYERS // 2, WHOLE_LAYERS)


def extrapolate(found: Sequence[dict[str, Any]], depths: Sequence[int], depth: int) -> CompiledFigures:
    """Returns the figures at a depth: those of that depth, or on the line through two."""
    if len(found) == 1:
        return CompiledFigures(**found[0], compiled_layers=(depth,))
    (low, high), (few, many) = found, depths
    steps = (depth - many) / (many - few)
    line = {name: round(high[name] + steps * (high[name] - low[name])) for name in high if name != "seconds"}
    return CompiledFigures(**line, seconds=low["seconds"] + high["seconds"], compiled_layers=tuple(depths))
